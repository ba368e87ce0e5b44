"""Runs one benchmark by its name."""

import sys
from importlib import import_module
from pathlib import Path

NOT_BENCHMARKS = frozenset({"__init__", "__main__", "report"})


def names() -> list[str]:
    """The benchmarks that can be run."""
    return sorted({file.stem for file in Path(__file__).parent.glob("*.py")} - NOT_BENCHMARKS)


def main(argv: list[str]) -> int:
    """Run the benchmark that the first argument names with the others; 2 when there is none of that name."""
    name, *arguments = argv or [""]
    if name not in names():
        print(f"there is no benchmark {name!r}; choose one of: {', '.join(names())}", file=sys.stderr)
        return 2
    return import_module(f"benchmarks.{name}").main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
