# SPDX-License-Identifier: GPL-2.0
"""The plugin's files of counts, and the cost of an operation as the difference of two of them."""

import collections
import os

from .failure import Failure

# The sides, in the order of their processors.
SIDES = ("client", "servers")
# A guest's marks for each job: after the warm-up, after the short run, and after each long one.
FIRST_LONG = 2


def read(lines):
    """Instructions by (processor, address)."""
    counts = collections.Counter()
    for line in lines:
        processor, address, instructions = line.split()
        counts[int(processor), int(address, 16)] += int(instructions)
    return counts


def by_function(counts, symbols, processors):
    """Instructions by (side, function); with one processor, which both sides share, the side is None."""
    known, sums = {}, collections.Counter()
    for (processor, address), instructions in counts.items():
        if address not in known:
            known[address] = symbols.function(address)
        sums[SIDES[processor] if processors > 1 else None, known[address]] += instructions
    return sums


def an_operation(short, long, operations):
    """The cost of one operation, by (side, function): the difference between the long and the short run."""
    costs = {key: (long.get(key, 0) - short.get(key, 0)) / operations for key in {*short, *long}}
    return {key: cost for key, cost in costs.items() if cost}


def mean(costs):
    """The mean of several runs' costs."""
    sums = collections.Counter()
    for cost in costs:
        sums.update(cost)
    return {key: total / len(costs) for key, total in sums.items()}


def of_jobs(directory, jobs, runs, symbols, processors, operations):
    """For each job the costs of an operation in each of its long runs, from the plugin's files."""
    marks = FIRST_LONG + runs
    wrote = len([name for name in os.listdir(directory) if name.startswith("counts.")])
    if wrote != marks * jobs:
        raise Failure(f"the guest's marks do not fit its jobs: {wrote} files of counts, {marks * jobs} awaited")
    results = []
    for job in range(jobs):
        _, short, *longs = (_functions(directory, marks * job + mark, symbols, processors) for mark in range(marks))
        results.append([an_operation(short, long, operations) for long in longs])
    return results


def _functions(directory, number, symbols, processors):
    with open(os.path.join(directory, f"counts.{number}"), encoding="ascii") as file:
        return by_function(read(file), symbols, processors)
