"""Runs one benchmark by name."""

import sys
from importlib import import_module
from pathlib import Path

NOT_BENCHMARKS = frozenset({"__init__", "__main__", "report"})


def names() -> list[str]:
    """Names of all benchmarks."""
    return sorted({file.stem for file in Path(__file__).parent.glob("*.py")} - NOT_BENCHMARKS)


def main(argv: list[str]) -> int:
    """Run the benchmark named by the first argument with the other arguments; 2 for an unknown name."""
    name, *arguments = argv or [""]
    if name not in names():
        print(f"unknown benchmark {name!r}; choose one of: {', '.join(names())}", file=sys.stderr)
        return 2
    return import_module(f"benchmarks.{name}").main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
