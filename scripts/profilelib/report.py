# SPDX-License-Identifier: GPL-2.0
"""Reports of measurements: a table, JSON, and the differences from an earlier one."""

import collections
import re

from . import layers
from .counts import SIDES, mean

# A comparison omits functions that cost less than this many instructions.
LEAST_CHANGE = 1.0


def document(results, settings):
    """The whole report, for JSON."""
    return {**settings, "operations": [_operation(result) for result in results]}


def _operation(result):
    costs = mean(result.runs)
    functions = collections.defaultdict(dict)
    for (side, function), cost in costs.items():
        functions[function][side or "both"] = cost
    rows = [{"layer": function.layer, "function": function.name, **_rounded(sides)}
            for function, sides in functions.items()]
    rows.sort(key=lambda row: (-_all(row), row["layer"], row["function"]))
    by_layer = collections.defaultdict(collections.Counter)
    total = collections.Counter()
    for (side, function), cost in costs.items():
        by_layer[function.layer][side or "both"] += cost
        total[side or "both"] += cost
    return {"operation": result.job.operation, "depth": result.job.depth, "counted_ns": result.nanoseconds,
            "instructions": _rounded(total),
            "runs": [round(sum(run.values()), 1) for run in result.runs],
            "layers": {layer: _rounded(by_layer[layer]) for layer in layers.ORDER if layer in by_layer},
            "functions": rows}


def _rounded(sides):
    """Rounds to a tenth of an instruction; the sides are in a fixed order."""
    # Adding 0 turns -0.0 into 0.0.
    return {side: round(sides[side], 1) + 0.0 for side in (*SIDES, "both") if side in sides}


def _all(row):
    return sum(row.get(side, 0) for side in (*SIDES, "both"))


def text(report, top):
    """The lines of the text report."""
    lines = []
    for operation in report["operations"]:
        sides = [side for side in (*SIDES, "both") if side in operation["instructions"]]
        whole = operation["instructions"]
        head = ", ".join(f"{side} {whole[side]:,.0f}" for side in sides if side != "both")
        lines.append(f"{operation['operation']}, depth {operation['depth']}, MTU {report['mtu']}: "
                     f"{_all(whole):,.0f} instructions an operation{': ' + head if head else ''}")
        if len(operation["runs"]) > 1:
            lines.append(f"({len(operation['runs'])} runs, of {min(operation['runs']):,.0f} to "
                         f"{max(operation['runs']):,.0f})")
        lines += ["", _row("layer", sides, None)]
        lines += [_row(layer, sides, costs) for layer, costs in operation["layers"].items()]
        lines += [_row("all", sides, whole), "", f"{_row('function', sides, None)}  layer"]
        shown = operation["functions"][:top]
        lines += [f"{_row(row['function'], sides, row)}  {row['layer']}" for row in shown]
        rest = {side: whole[side] - sum(row.get(side, 0) for row in shown) for side in sides}
        if len(operation["functions"]) > top:
            lines.append(_row(f"({len(operation['functions']) - top} more)", sides, rest))
        lines.append("")
    return lines


NAME_WIDTH = 62
# The crate's own root, as the module and as the programs have it.
_ROOTS = re.compile(r"\b(?:anemone_main|anemone)::")


def short(name):
    """A function's name without the arguments of generic types, and without the crate's own root."""
    kept, depth = "", 0
    for position, character in enumerate(name):
        if depth:
            # The `>` of an arrow is not a bracket.
            depth += (character == "<") - (character == ">" and name[position - 1] != "-")
        elif character == "<" and kept and not name.startswith("<impl ", position):
            kept = kept.removesuffix("::")
            depth = 1
        else:
            kept += character
    return _ROOTS.sub("", kept)


def _row(name, sides, costs):
    cells = [side if costs is None else f"{round(costs.get(side, 0)):,}" for side in sides]
    if len(sides) > 1:
        cells.append("all" if costs is None else f"{round(sum(costs.get(side, 0) for side in sides)):,}")
    name = short(name)
    if len(name) > NAME_WIDTH:
        name = f"{name[:NAME_WIDTH - 3]}..."
    return f"{name:<{NAME_WIDTH}}" + "".join(f"{cell:>9}" for cell in cells)


def comparison(before, after, top):
    """The differences between two reports for each operation: all, layers, functions."""
    lines = []
    earlier = {(operation["operation"], operation["depth"]): operation for operation in before["operations"]}
    for operation in after["operations"]:
        was = earlier.get((operation["operation"], operation["depth"]))
        if was is None:
            continue
        old, new = _all(was["instructions"]), _all(operation["instructions"])
        lines.append(f"{operation['operation']}, depth {operation['depth']}: "
                     f"{old:,.0f} to {new:,.0f} instructions, {_percent(old, new)}")
        for side in (*SIDES, "both"):
            if side in was["instructions"] and side in operation["instructions"] and side != "both":
                pair = was["instructions"][side], operation["instructions"][side]
                lines.append(f"  {side:<30}{pair[0]:>9,.0f}{pair[1]:>9,.0f}  {_percent(*pair)}")
        lines += _changes({name: _all(costs) for name, costs in was["layers"].items()},
                          {name: _all(costs) for name, costs in operation["layers"].items()}, len(layers.ORDER))
        lines += _changes(_functions(was), _functions(operation), top)
        lines.append("")
    return lines


def _functions(operation):
    sums = collections.Counter()
    for row in operation["functions"]:
        sums[f"{row['function']} ({row['layer']})"] += _all(row)
    return sums


def _changes(old, new, top):
    changed = [(new.get(name, 0) - old.get(name, 0), name) for name in {*old, *new}]
    changed = sorted((pair for pair in changed if abs(pair[0]) >= LEAST_CHANGE), key=lambda pair: (-abs(pair[0]), pair[1]))
    return [f"  {difference:>+9,.0f}  {name}" for difference, name in changed[:top]]


def _percent(old, new):
    return f"{(new / old - 1) * 100:+.2f}%" if old else "new"
