"""The command `python -m benchmarks`; exit code 1 if a limit is missed."""

import argparse
import importlib
import pkgutil
import sys

import benchmarks
from benchmarks import results
from benchmarks.harness import BENCHMARKS, table


def main(arguments: list[str] | None = None) -> int:
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name != "__main__":
            importlib.import_module(f"benchmarks.{module.name}")

    lines = "\n".join(f"  {name:<18} {function.__doc__.splitlines()[0]}" for name, function in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=f"The benchmarks:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run; all of them without a name")
    parser.add_argument("--quick", action="store_true", help="the smallest case of each, and few repeats")
    parser.add_argument("--json", metavar="FILE", help="append the rows to a file, a line of JSON each")
    parser.add_argument("--compare", nargs=2, metavar="FILE", help="compare two such files, and run nothing")
    options = parser.parse_args(arguments)
    if options.compare:
        print(*results.comparison(*map(results.read, options.compare)), sep="\n")
        return 0
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")

    rows, measured_with = [], results.circumstances() if options.json else {}
    for name in options.names or BENCHMARKS:
        for row in BENCHMARKS[name](options.quick):
            rows.append((name, row))
            if options.json:
                results.append(options.json, name, row, measured_with)
            *_, line = table(rows)
            print(line, file=sys.stderr, flush=True)  # progress; the table comes at the end, on stdout
    print(*table(rows), sep="\n")
    return 0 if all(row.passed for _, row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
