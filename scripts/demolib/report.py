"""The demo's title, its table and its JSON file."""

import dataclasses
import json

from .sorting import DISK_IOPS, DISK_MB_S, SERVERS

NOT_THERE = "-"
EVENTS = {"killed": "server 1 lost its power", "cut": "no server had a network"}


def title(screen, plan):
    screen.line("Anemone: GNU sort over more text than the machine has memory")
    screen.line(f"  {plan.text_mib} MiB of text in a machine with {plan.client_mem} MiB of memory; its pages on "
                f"{SERVERS} machines with {plan.server_mem} MiB each,")
    screen.line("  two copies of every page. The text is a journal of four days: lines of about 1 KiB, in no order")
    screen.line(f"  within a day, made from the seed {plan.seed}.")
    if plan.events:
        screen.line("  In the middle one server loses its power and comes back empty; later no server has a network")
        screen.line("  for a while.")
    screen.line()


def extrapolated(anemone, disk):
    """Seconds that the disk would need for as many pages as Anemone moved; None if it came to its end."""
    if disk is None or disk.finished:
        return None
    left = max(0, anemone.pages_moved - disk.pages_moved)
    return disk.seconds + left / max(1, disk.late_pages_per_second)


def table(screen, plan, checksum, anemone, disk):
    """A line for each figure, a column for each sort."""
    disk_name = f"disk, {DISK_IOPS} IOPS, {DISK_MB_S} MB/s"

    def row(name, first, second=NOT_THERE):
        screen.line(f"  {name:38}{first:>22}" + (f"{second:>28}" if disk else ""))

    def both(name, value):
        row(name, value(anemone), value(disk) if disk else NOT_THERE)

    row("swap on", f"Anemone, {SERVERS} servers", disk_name)
    screen.line("  " + "-" * (88 if disk else 60))
    both("bytes sorted", lambda sorting: f"{plan.text_bytes:,}" if sorting.finished else "not finished")
    both("checksum (SHA-256)", lambda sorting: verdict(sorting, checksum))
    both("time", lambda sorting: f"{sorting.seconds:.1f} s" if sorting.finished else
         f"stopped after {sorting.seconds:.0f} s")
    if late := extrapolated(anemone, disk):
        row("time, EXTRAPOLATED (1)", NOT_THERE, f"about {late:,.0f} s")
    both("pages a second", lambda sorting: f"{sorting.pages_per_second:,.0f}")
    both("pages a second, second half", lambda sorting: f"{sorting.late_pages_per_second:,.0f}")
    both("pages out, counted by the kernel", lambda sorting: f"{sorting.count('pswpout'):,}")
    row("pages out, counted by the module", f"{anemone.count('pages_out'):,}")
    both("pages in, counted by the kernel", lambda sorting: f"{sorting.count('pswpin'):,}")
    row("pages in, counted by the module", f"{anemone.count('pages_in'):,}")
    for way, kernel, module, causes in anemone.differences():
        if kernel != module:
            what = ", ".join(f"{number:,} {cause}" for cause, number in causes.items() if number)
            row(f"  difference, pages {way}", what or "not explained")
    both("pages of zeros, kept by the kernel", lambda sorting: f"{sorting.count('swpout_zero'):,}")
    row("copies acknowledged by the servers", f"{anemone.count('copies_out'):,}")
    for event in anemone.events():
        row(EVENTS[event.name], f"at {event.began_s:.0f} s, for {event.lasted_s:.0f} s")
        if event.name == "killed":
            # Without a network it is at least as long as that lasted.
            row("  longest time with next to no page", f"{event.stood_still_s:.1f} s")
        row("  cost, by the pages a second before", f"about {event.lost_s:.1f} s")
    if repaired := anemone.count("pages_repaired"):
        row("pages that lost a copy and got another", f"{repaired:,}")
    if degraded := anemone.count("pages_out_degraded"):
        row("pages out with one copy only", f"{degraded:,}")
    row("sent again, unanswered in time", f"{anemone.count('retransmissions'):,}")
    for number, (pages, _) in sorted(anemone.servers.items()):
        row(f"copies on server {number} at a time, at most", f"{pages:,}")
    for kind, name in (("page_in", "page-in"), ("page_out", "page-out")):
        for field, what in (("mean_ns", "mean"), ("p50_ns", "median"), ("p99_ns", "99th percentile")):
            row(f"{name}, {what}", milliseconds(anemone.latency.get(kind, {}).get(field)))
    screen.line()
    if extrapolated(anemone, disk):
        screen.line("  (1) not measured: if the disk had moved the pages that it had not yet moved, and Anemone had,")
        screen.line("      at its rate of the second half")
    screen.line("  Checksum of the same text, sorted outside the VM:")
    screen.line(f"  {checksum}")


def conclusion(screen, plan, anemone, disk):
    """What it comes to, in a sentence."""
    screen.line()
    screen.line(f"A program of {plan.text_mib} MiB ran in {plan.client_mem} MiB of memory, every byte right, "
                f"in {anemone.seconds:.0f} s.")
    if disk:
        slow = extrapolated(anemone, disk) or disk.seconds
        how = "took" if disk.finished else "would take about"
        screen.line(f"On the disk it {how} {slow:.0f} s, {slow / anemone.seconds:.1f} times as long"
                    + ("." if disk.finished else " (extrapolated)."))


def verdict(sorting, checksum):
    if not sorting.finished:
        return NOT_THERE
    return f"{sorting.checksum[:12]}... " + ("right" if sorting.checksum == checksum else "WRONG")


def milliseconds(value):
    return NOT_THERE if value is None else f"{value / 1000000:,.2f} ms"


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
        "servers": [{"server": number, "most_pages": pages, "health": health}
                    for number, (pages, health) in sorted(anemone.servers.items())],
        "latency": anemone.latency,
        "seconds": anemone.seconds,
        "events": [dataclasses.asdict(event) for event in anemone.events()],
        "counters": anemone.counters(),
        "disk_seconds": disk.seconds if disk else None,
        "disk_seconds_extrapolated": round(late, 1) if late else None,
        "disk_finished": disk.finished if disk else None,
        "disk_pages_out": disk.count("pswpout") if disk else None,
        "disk_pages_in": disk.count("pswpin") if disk else None,
        "disk_pages_per_second": round(disk.pages_per_second, 1) if disk else None,
        "pages_per_second": round(anemone.pages_per_second, 1),
        "pages_per_second_second_half": round(anemone.late_pages_per_second, 1),
        "disk_pages_per_second_second_half": round(disk.late_pages_per_second, 1) if disk else None,
        "disk_iops_limit": DISK_IOPS,
        "disk_mb_s_limit": DISK_MB_S,
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
