"""Which folders hold the limits of a container, in both versions of control groups and where both are mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen3_rerank_plugins.engine.control_groups import find_groups


@pytest.mark.parametrize(
    ("membership", "found"),
    [
        ("0::/a/b", ["a/b", "a", ".", "unified/a/b", "unified/a", "unified"]),
        ("0::/", [".", "unified"]),
        ("4:memory:/a", ["memory/a", "memory"]),
        ("3:cpu,memory:/a", ["cpu,memory/a", "cpu,memory", "memory/a", "memory"]),
        ("4:cpuset:/a", []),
        ("3:cpu:/a\n0::/b", ["b", ".", "unified/b", "unified"]),
        ("no colon\n\n:\n4:memory:/a", ["memory/a", "memory", ".", "unified"]),
    ],
)
def test_groups_and_all_above_them_are_found_up_to_the_mount(membership: str, found: list[str], tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(membership, encoding="utf-8")
    groups = find_groups("memory", tmp_path / "cgroup", tmp_path / "mount")
    assert {str(group.relative_to(tmp_path / "mount")) for group in groups} == set(found)


def test_there_are_none_where_the_system_has_none(tmp_path: Path) -> None:
    assert list(find_groups("memory", tmp_path / "nothing", tmp_path)) == []
