"""How long a door takes to open: `import aideon_agents` and `aideon --help`, on a warm disk.

Each is held against the bare interpreter started in the same round, in pairs, so that a busy
machine weighs on both. Prints medians; the bounds are 0.1 s of import and 0.4 s of help.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

ROUNDS = 15
COMMANDS = {
    "bare python": ["-c", "pass"],
    "import aideon_agents": ["-c", "import aideon_agents"],
    "aideon --help": ["-m", "aideon_agents", "--help"],
    "aideon run --help": ["-m", "aideon_agents", "run", "--help"],
}
BOUNDS = {"import aideon_agents": 0.1, "aideon --help": 0.4, "aideon run --help": 0.4}


def measure(arguments: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of one start."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the medians; leave with 1 where a bound is passed."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for arguments in COMMANDS.values():
        measure(arguments)  # warms the disk
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            taken[name].append(measure(arguments))
    bare = statistics.median(wall for wall, _ in taken["bare python"])
    missed = False
    for name, figures in taken.items():
        wall = statistics.median(one for one, _ in figures)
        cpu = statistics.median(one for _, one in figures)
        own = wall - bare if name.startswith("import") else wall
        bound = BOUNDS.get(name)
        missed = missed or (bound is not None and own >= bound)
        against = f"  {own:.3f} s of its own, bound {bound} s" if bound else ""
        print(f"{name:22} {wall:.3f} s wall  {cpu:.3f} s CPU{against}")
    sys.exit(missed)


if __name__ == "__main__":
    main()
