"""The demo's title, its table and its JSON file."""

import json

from .sorting import DISK_IOPS, DISK_MB_S, SERVERS

NOT_THERE = "-"


def title(screen, plan):
    screen.line("Anemone: GNU sort over more text than the machine has memory")
    screen.line(f"  {plan.text_mib} MiB of text (lines of about 1 KiB, seed {plan.seed}) in a machine with "
                f"{plan.client_mem} MiB of memory,")
    screen.line(f"  its pages on {SERVERS} machines with {plan.server_mem} MiB each, two copies of every page.")
    screen.line()


def extrapolated(anemone, disk):
    """Seconds that the disk would need for as many pages as Anemone moved; None if it came to its end."""
    if disk is None or disk.finished:
        return None
    return disk.seconds * anemone.pages_moved / max(1, disk.pages_moved)


def table(screen, plan, checksum, anemone, disk):
    """A line for each figure, a column for each sort."""
    disk_name = f"disk: {DISK_IOPS} I/O/s, {DISK_MB_S} MB/s"
    screen.line(f"  {'':34}{f'Anemone, {SERVERS} servers':>24}" + (f"{disk_name:>28}" if disk else ""))

    def row(name, first, second=NOT_THERE):
        screen.line(f"  {name:34}{first:>24}" + (f"{second:>28}" if disk else ""))

    def both(name, value):
        row(name, value(anemone), value(disk) if disk else NOT_THERE)

    both("bytes sorted", lambda sorting: f"{plan.text_bytes:,}" if sorting.finished else "not finished")
    both("checksum (SHA-256)", lambda sorting: verdict(sorting, checksum))
    both("time", lambda sorting: f"{sorting.seconds:.1f} s" if sorting.finished else
         f"stopped after {sorting.seconds:.0f} s")
    if late := extrapolated(anemone, disk):
        row("time, extrapolated*", NOT_THERE, f"about {late:,.0f} s")
    both("pages out and in, a second", lambda sorting: f"{sorting.pages_per_second:,.0f}")
    both("pages out, by the kernel", lambda sorting: f"{sorting.count('pswpout'):,}")
    row("pages out, by the module", f"{anemone.count('pages_out'):,}")
    both("pages in, by the kernel", lambda sorting: f"{sorting.count('pswpin'):,}")
    row("pages in, by the module", f"{anemone.count('pages_in'):,}")
    both("zero pages kept by the kernel", lambda sorting: f"{sorting.count('swpout_zero'):,}")
    row("copies sent to servers", f"{anemone.count('copies_out'):,}")
    for slot, (pages, _) in sorted(anemone.servers.items()):
        row(f"most pages held by server {slot + 1}", f"{pages:,}")
    for kind, name in (("page_in", "page-in"), ("page_out", "page-out")):
        for field, what in (("mean_ns", "mean"), ("p50_ns", "median"), ("p99_ns", "99th percentile")):
            row(f"{name}, {what}", microseconds(anemone.latency.get(kind, {}).get(field)))
    screen.line()
    if extrapolated(anemone, disk):
        screen.line("  * the time that the disk would take, at its pages a second, for the pages that Anemone moved")
    screen.line(f"  Checksum of the same text, sorted outside the VM: {checksum}")


def verdict(sorting, checksum):
    if not sorting.finished:
        return NOT_THERE
    return f"{sorting.checksum[:12]}... " + ("right" if sorting.checksum == checksum else "WRONG")


def microseconds(value):
    return NOT_THERE if value is None else f"{value / 1000:,.0f} us"


def write_json(path, plan, checksum, anemone, disk, problems):
    """What the table holds, for programs."""
    late = extrapolated(anemone, disk)
    values = {
        "ok": not problems,
        "problems": problems,
        "seed": plan.seed,
        "sorted_bytes": plan.text_bytes if anemone.finished else 0,
        "client_memory_mib": plan.client_mem,
        "server_memory_mib": plan.server_mem,
        "checksum": anemone.checksum,
        "checksum_expected": checksum,
        "pages_out": anemone.count("pages_out"),
        "pages_in": anemone.count("pages_in"),
        "vmstat_pswpout": anemone.count("pswpout"),
        "vmstat_pswpin": anemone.count("pswpin"),
        "vmstat_swpout_zero": anemone.count("swpout_zero"),
        "vmstat_swpin_zero": anemone.count("swpin_zero"),
        "copies_out": anemone.count("copies_out"),
        "servers": [{"slot": slot, "most_pages": pages, "health": health}
                    for slot, (pages, health) in sorted(anemone.servers.items())],
        "latency": anemone.latency,
        "seconds": anemone.seconds,
        "counters": anemone.counters(),
        "disk_seconds": disk.seconds if disk else None,
        "disk_seconds_extrapolated": round(late, 1) if late else None,
        "disk_finished": disk.finished if disk else None,
        "disk_pages_out": disk.count("pswpout") if disk else None,
        "disk_pages_in": disk.count("pswpin") if disk else None,
        "disk_pages_per_second": round(disk.pages_per_second, 1) if disk else None,
        "disk_iops_limit": DISK_IOPS,
        "disk_mb_s_limit": DISK_MB_S,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
