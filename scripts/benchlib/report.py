# SPDX-License-Identifier: GPL-2.0
"""Turns the benchmarks' output into tables against the budgets, build/bench.json and build/failover.txt."""

import json
import sys

# The budgets with a processor for each side, in microseconds an operation: by MTU, operation and depth.
BUDGETS = {
    (1500, "page-in", 1): 35, (1500, "page-out", 1): 58, (1500, "page-in", 16): 25, (1500, "page-out", 16): 36,
    (9000, "page-in", 1): 28, (9000, "page-out", 1): 46, (9000, "page-in", 16): 18, (9000, "page-out", 16): 25,
}
# What sealing and authenticated frames may add to the client's instructions: by MTU and operation.
SEALING = {(1500, "page-in"): 17000, (1500, "page-out"): 30000, (9000, "page-in"): 13000, (9000, "page-out"): 20000}
NAMES = {"page-in": "page-in", "page-out": "page-out, two copies"}
FIO = {"page-in": "randread", "page-out": "randwrite"}
# The budgets of a page-out with the mirror against without; of a mirrored page; of a page-in while a server dies.
MIRROR_PERCENT, MIRRORED_US, FAILOVER_MS = 10, 6, 100


def mark(value, budget):
    return "" if value <= budget else "  over"


def one_processor(lines):
    """The table of page-ins and page-outs with client and servers on one processor."""
    figures = {tuple(words[:4]): float(words[4]) for words in lines if words[0].isdigit()}
    rows = []
    print("client and servers on one processor:")
    print(f"{'MTU':>5}  {'operation':<22}{'depth':>5}{'Anemone':>10}{'RAM disk':>10}")
    for mtu, operation, depth in BUDGETS:
        cost, floor = (figures[str(mtu), device, FIO[operation], str(depth)] for device in ("anemone", "ram0"))
        print(f"{mtu:>5}  {NAMES[operation]:<22}{depth:>5}{cost:>10.1f}{floor:>10.1f}")
        rows.append({"mtu": mtu, "operation": operation, "depth": depth, "anemone_us": cost, "ram_disk_us": floor})
    return rows


def two_processors(paths):
    """The table of each side's instructions, from the outputs of scripts/profile."""
    rows = []
    print("\na processor for each side; instructions an operation:")
    print(f"{'MTU':>5}  {'operation':<22}{'depth':>5}{'us':>10}{'budget':>8}{'client':>10}{'servers':>10}")
    for path in paths:
        with open(path, encoding="utf-8") as file:
            profile = json.load(file)
        for row in profile["operations"]:
            sides, cost = row["instructions"], row["counted_ns"] / 1000
            budget = BUDGETS[profile["mtu"], row["operation"], row["depth"]]
            print(f"{profile['mtu']:>5}  {NAMES[row['operation']]:<22}{row['depth']:>5}{cost:>10.1f}{budget:>8}"
                  f"{sides['client']:>10,.0f}{sides['servers']:>10,.0f}{mark(cost, budget)}")
            rows.append({"mtu": profile["mtu"], "operation": row["operation"], "depth": row["depth"],
                         "counted_us": cost, "budget_us": budget, "client_instructions": sides["client"],
                         "servers_instructions": sides["servers"]})
    print()
    return rows


def sealing(pairs):
    """What sealing adds to each side's instructions, from the outputs of scripts/profile without it and with it."""
    rows = []
    print("what sealing adds, in instructions an operation:")
    print(f"{'MTU':>5}  {'operation':<22}{'depth':>5}{'client':>10}{'budget':>8}{'servers':>10}")
    for plain, sealed in pairs:
        with open(plain, encoding="utf-8") as first, open(sealed, encoding="utf-8") as second:
            plain, sealed = json.load(first), json.load(second)
        for before, after in zip(plain["operations"], sealed["operations"]):
            mtu, operation, depth = plain["mtu"], before["operation"], before["depth"]
            client, servers = (after["instructions"][side] - before["instructions"][side]
                               for side in ("client", "servers"))
            budget = SEALING[mtu, operation]
            print(f"{mtu:>5}  {NAMES[operation]:<22}{depth:>5}{client:>10,.0f}{budget:>8,}{servers:>10,.0f}"
                  f"{mark(client, budget)}")
            rows.append({"mtu": mtu, "operation": operation, "depth": depth, "budget": budget,
                         "client_instructions": client, "servers_instructions": servers})
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
    profiles = sys.argv[2:]
    result = {"one_processor": one_processor(lines), "two_processors": two_processors(profiles[::2]),
              "sealing": sealing(zip(profiles[::2], profiles[1::2])), "mirror": mirror(lines), "failover": failover(lines, "build/failover.txt")}
    with open("build/bench.json", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
