# SPDX-License-Identifier: GPL-2.0
"""The demo's titles, its tables and its JSON file."""

import dataclasses
import json

from . import histogram, race

MIB = 1 << 20
EVENTS = {"killed": "server 1 lost its power", "cut": "no server had a network"}
FIRST, WIDTH = 40, 22


def title_of_race(screen, plan):
    screen.line("Anemone: GNU sort over more text than the machine has memory")
    screen.line()
    screen.line("1. The race, in counted time: an instruction takes a nanosecond, and waiting takes the time of the disk or")
    screen.line("   the wire. Beside the sort only its memory's statistics are read. So every machine gives about the")
    screen.line("   same result, within 5%.")
    screen.line(f"   {plan.text_mib} MiB of text (seed {plan.seed}), {plan.memory_mib} MiB of memory for the sort. Swap is on")
    screen.line(f"   Anemone: {race.SERVERS} servers, two copies of every page, wires of 1 Gbit/s; or on")
    screen.line("   a disk: 7200 rpm, with a write cache and no other load (docs/performance.md)")
    screen.line()


def title_of_disasters(screen, plan):
    screen.line()
    screen.line("2. The disasters, on three virtual machines, in real time. A sort continues while one server loses")
    screen.line("   power and restarts empty, and later all servers lose their network for a while.")
    screen.line(f"   {plan.text_mib} MiB of text in a machine with {plan.client_mem} MiB of memory.")
    screen.line()


def row(screen, name, *values):
    screen.line(f"  {name:{FIRST}}" + "".join(f"{value:>{WIDTH}}" for value in values))


def verdict(found, expected):
    return "right" if found == expected else "WRONG"


def whole(number):
    return f"{number:,}"


def of_race(screen, plan, digest, racers):
    """A row for each figure, a column for each sort, and the histogram."""
    anemone, disk = racers

    def both(name, value):
        row(screen, name, *(value(racer) for racer in racers))

    row(screen, "swap on", *(race.NAMES[racer.kind] for racer in racers))
    screen.line("  " + "-" * (FIRST + WIDTH * len(racers)))
    both("time, counted", lambda racer: f"{racer.seconds:.2f} s")
    both("bytes sorted", lambda _: whole(plan.text_bytes))
    both("every byte (SipHash-1-3, 128 bits)", lambda racer: verdict(racer.digest, digest))
    both("memory of the sort, at most", lambda racer: f"{racer.memory_peak / MIB:.1f} MiB")
    both("pages out", lambda racer: whole(racer.count("pswpout")))
    both("pages in", lambda racer: whole(racer.count("pswpin")))
    both("major faults", lambda racer: whole(racer.faults))
    both("  stalled by one, mean", lambda racer: histogram.duration(racer.mean_ns))
    both("  50% at most", lambda racer: histogram.duration(2 ** histogram.percentile(racer.page_ins, 0.5)))
    both("  99% at most", lambda racer: histogram.duration(2 ** histogram.percentile(racer.page_ins, 0.99)))
    screen.line()
    screen.line("  For how long major faults stalled the program, and how many did:")
    screen.line()
    titles = [race.NAMES[racer.kind] for racer in racers]
    for line in histogram.side_by_side(titles, [racer.page_ins for racer in racers]):
        screen.line(line)
    screen.line()
    screen.line(f"  On Anemone: {anemone.seconds:.2f} s. On the disk: {disk.seconds:.2f} s, "
                f"{ratio(racers):.1f} times as long.")
    behind = disk.written_by(anemone.ended_ns - anemone.began_ns)
    if behind:
        screen.line(f"  When Anemone had finished, the disk had written {behind // MIB} of {plan.text_mib} MiB.")
    else:
        screen.line("  When Anemone had finished, the disk had not written the first MiB of the result.")


def ratio(racers):
    anemone, disk = racers
    return disk.seconds / anemone.seconds


def of_disasters(screen, plan, digest, run):
    """The disturbances and their effects."""
    row(screen, "every byte (SipHash-1-3, 128 bits)", verdict(run.digest, digest) if run.finished else "not finished")
    row(screen, "time", f"{run.seconds:.1f} s")
    row(screen, "pages out, of these with one copy only",
        f"{run.count('pages_out'):,}, {run.count('pages_out_degraded'):,}")
    row(screen, "pages in, failed", f"{run.count('pages_in'):,}, {run.count('pages_in_failed'):,}")
    for event in run.events():
        row(screen, EVENTS[event.name], f"at {event.began_s:.0f} s, for {event.lasted_s:.0f} s")
        row(screen, "  the sort stalled for", f"{event.stood_still_s:.1f} s")
        if event.name == "cut":
            row(screen, "  and continued after the network by", f"{max(0, event.stood_still_s - event.lasted_s):.1f} s")
    row(screen, "pages that lost a copy and got a new one", whole(run.count("pages_repaired")))
    if (repaired := run.repaired_s()) is not None:
        row(screen, "  all of them, after the server's return", f"{repaired:.0f} s")
    for number, (pages, _) in sorted(run.servers.items()):
        row(screen, f"copies on server {number}, at most", whole(pages))
    screen.line()
    if run.finished and run.digest == digest:
        screen.line(f"  The program lost nothing: all {plan.text_bytes:,} bytes are right.")


def write_json(path, problems, racers, race_digest, disasters, disasters_digest):
    """The contents of the tables, for programs."""
    values = {"ok": not problems, "problems": problems}
    if racers:
        values["race"] = {racer.kind: {
            "seconds": racer.seconds if racer.ended_ns else None, "digest": racer.digest,
            "page_ins_by_power_of_two_ns": racer.page_ins, "page_in_mean_ns": round(racer.mean_ns),
            "pages_out": racer.count("pswpout"), "pages_in": racer.count("pswpin"), "faults": racer.faults,
            "memory_peak": racer.memory_peak, "disk": racer.disk_counts, "counters": racer.counters(),
        } for racer in racers}
        values["race"]["digest_expected"] = race_digest
        values["race"]["ratio"] = round(ratio(racers), 3) if all(racer.ended_ns for racer in racers) else None
    if disasters:
        values["disasters"] = {
            "seconds": disasters.seconds, "digest": disasters.digest, "digest_expected": disasters_digest,
            "events": [dataclasses.asdict(event) for event in disasters.events()],
            "repaired_seconds_after_the_server_was_back": disasters.repaired_s(),
            "servers": [{"server": number, "most_pages": pages, "health": health}
                        for number, (pages, health) in sorted(disasters.servers.items())],
            "counters": disasters.counters(),
        }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
