"""`python -m aideon_agents`, and the console script `aideon`."""

from __future__ import annotations

import sys

from aideon_agents.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
