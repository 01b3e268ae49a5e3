# SPDX-License-Identifier: GPL-2.0
"""Turns the benchmarks' output into tables against the budgets, build/bench.json and build/failover.txt."""

import json
import sys

# The budgets, in microseconds an operation.
BUDGETS = {
    ("1500", "randread", "1"): 28, ("9000", "randread", "1"): 20,
    ("1500", "randwrite", "1"): 44, ("9000", "randwrite", "1"): 34,
    ("1500", "randread", "16"): 18, ("9000", "randread", "16"): 12,
    ("1500", "randwrite", "16"): 32, ("9000", "randwrite", "16"): 24,
}
NAMES = {"randread": "page-in", "randwrite": "page-out, two copies"}
# The budgets of a page-out with the mirror against without; of a mirrored page; of a page-in while a server dies.
MIRROR_PERCENT, MIRRORED_US, FAILOVER_MS = 10, 6, 100


def mark(value, budget):
    return "" if value <= budget else "  over"


def operations(lines):
    """The table of page-ins and page-outs."""
    figures = {tuple(words[:4]): float(words[4]) for words in lines if words[0].isdigit()}
    rows = []
    print(f"{'MTU':>5}  {'operation':<22}{'depth':>5}{'Anemone':>10}{'budget':>8}{'RAM disk':>10}")
    for (mtu, operation, depth), budget in BUDGETS.items():
        cost = figures[mtu, "anemone", operation, depth]
        floor = figures[mtu, "ram0", operation, depth]
        print(f"{mtu:>5}  {NAMES[operation]:<22}{depth:>5}{cost:>10.1f}{budget:>8}{floor:>10.1f}{mark(cost, budget)}")
        rows.append({"mtu": int(mtu), "operation": operation, "depth": int(depth), "anemone_us": cost,
                     "budget_us": budget, "ram_disk_us": floor})
    return rows


def two_processors(paths):
    """The table of each side's instructions, from the outputs of scripts/profile."""
    rows = []
    print("\na processor for each side; instructions an operation:")
    print(f"{'MTU':>5}  {'operation':<22}{'depth':>5}{'us':>10}{'client':>10}{'servers':>10}")
    for path in paths:
        with open(path, encoding="utf-8") as file:
            profile = json.load(file)
        for row in profile["operations"]:
            name = NAMES[{"page-in": "randread", "page-out": "randwrite"}[row["operation"]]]
            sides = row["instructions"]
            print(f"{profile['mtu']:>5}  {name:<22}{row['depth']:>5}{row['counted_ns'] / 1000:>10.1f}"
                  f"{sides['client']:>10,.0f}{sides['servers']:>10,.0f}")
            rows.append({"mtu": profile["mtu"], "operation": row["operation"], "depth": row["depth"],
                         "counted_us": row["counted_ns"] / 1000, "client_instructions": sides["client"],
                         "servers_instructions": sides["servers"]})
    print()
    return rows


def mirror(lines):
    """The latency that the local mirror adds to a page-out, and the cost of a mirrored page."""
    figures = {words[1]: float(words[2]) for words in lines if words[0] == "mirror"}
    percent = (figures["on-latency"] / figures["off-latency"] - 1) * 100
    mirrored = figures["on-throughput"] - figures["off-throughput"]
    print(f"page-out alone, mirror off {figures['off-latency']:.1f} us, on {figures['on-latency']:.1f} us: "
          f"{percent:+.1f}%, budget {MIRROR_PERCENT}%{mark(percent, MIRROR_PERCENT)}")
    print(f"a mirrored page: {mirrored:.2f} us, budget {MIRRORED_US} us{mark(mirrored, MIRRORED_US)}")
    return {"page_out_off_us": figures["off-latency"], "page_out_on_us": figures["on-latency"],
            "added_percent": round(percent, 1), "mirrored_page_us": round(mirrored, 2)}


def failover(lines, path):
    """Page-ins while a server dies: quantiles, and a histogram in a file."""
    result = {}
    with open(path, "w", encoding="utf-8") as file:
        for name in ("undisturbed", "killed"):
            counts, longest = {}, 0
            for words in lines:
                if words[:3] == ["failover", name, "max"]:
                    longest = int(words[3])
                elif words[:2] == ["failover", name]:
                    counts[int(words[2])] = int(words[3])
            result[name] = {"page_ins": sum(counts.values()), "p50_us": quantile(counts, 0.5) / 1000,
                            "p99_us": quantile(counts, 0.99) / 1000, "max_us": longest / 1000}
            histogram(file, name, counts)
    killed = result["killed"]
    print(f"page-ins while a server dies: {killed['page_ins']}, median {killed['p50_us']:.0f} us, "
          f"99% {killed['p99_us']:.0f} us, longest {killed['max_us'] / 1000:.1f} ms, budget {FAILOVER_MS} ms"
          f"{mark(killed['max_us'] / 1000, FAILOVER_MS)}; undisturbed {result['undisturbed']['p50_us']:.0f} us, "
          f"{result['undisturbed']['p99_us']:.0f} us, {result['undisturbed']['max_us'] / 1000:.1f} ms")
    return result


def quantile(counts, part):
    """A quantile of the values, in nanoseconds."""
    left = sum(counts.values()) * part
    for nanoseconds in sorted(counts):
        left -= counts[nanoseconds]
        if left <= 0:
            return nanoseconds
    return 0


def histogram(file, name, counts):
    """A line for each power of two of microseconds."""
    by_power = {}
    for nanoseconds, count in counts.items():
        power = max(0, (nanoseconds // 1000).bit_length() - 1)
        by_power[power] = by_power.get(power, 0) + count
    print(f"page-in latency, {name}", file=file)
    most = max(by_power.values(), default=1)
    for power in range(min(by_power, default=0), max(by_power, default=-1) + 1):
        count = by_power.get(power, 0)
        bar = "#" * -(-count * 50 // most)
        print(f"{1 << power:>8} us to {2 << power:>8} us {count:>8}  {bar}", file=file)
    print(file=file)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [line.split() for line in file]
    result = {"operations": operations(lines), "two_processors": two_processors(sys.argv[2:]),
              "mirror": mirror(lines), "failover": failover(lines, "build/failover.txt")}
    with open("build/bench.json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
