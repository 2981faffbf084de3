"""YAML, read from its nodes: text and lines are still there, and no tag makes an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from aideon_agents.tasks.document import Document, Fields, Place, complaint

if TYPE_CHECKING:
    from pathlib import Path

_NOTHING = {"", "~", "null", "Null", "NULL"}
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


def read(path: Path, text: str) -> Document:
    """Read a YAML file."""
    reader = _Reader(path)
    try:
        root = yaml.compose(text, yaml.BaseLoader)
        values = None if root is None else reader.value(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise complaint(path, line, (), f"this is not YAML: {error.problem or error}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise complaint(path, line, (), f"this is not YAML: {error.reason}") from None
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode
        raise complaint(path, 1, (), f"this is not YAML: {error}") from None
    except RecursionError:
        raise complaint(path, 1, (), "nested far too deeply for a task file") from None
    return Document(path, values, reader.fields.lines, typed=False)


class _Reader:
    """Turns nodes into values. An alias counts as what it stands for, so that none explodes."""

    def __init__(self, path: Path) -> None:
        self.fields = Fields(path)

    def value(self, node: yaml.Node, place: Place) -> Any:
        if node.tag not in _TAGS:
            line = node.start_mark.line + 1
            raise complaint(self.fields.path, line, place, f"leave out the tag {node.tag}")
        if isinstance(node, yaml.MappingNode):
            return dict(self._entry(key, value, place) for key, value in node.value)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*place, index)) for index, item in enumerate(node.value)]
        is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
        return None if is_plain and node.value in _NOTHING else node.value

    def _entry(self, key: yaml.Node, value: yaml.Node, place: Place) -> tuple[str, Any]:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise complaint(self.fields.path, line, place, "a key has to be a word")
        inside = (*place, key.value)
        self.fields.found(inside, line)
        return key.value, self.value(value, inside)

    def _item(self, item: yaml.Node, place: Place) -> Any:
        self.fields.found(place, item.start_mark.line + 1)
        return self.value(item, place)
