"""The app in this process with rehearsed workflows, and `aideon serve` in a process of its own."""

from service_fixtures import *  # noqa: F403 - fixtures
