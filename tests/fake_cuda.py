"""torch.cuda as a machine with several GPUs would answer it, on a machine that has none.

Only questions are answered: nothing can be computed on such a GPU. `tests/pretend.py` has tensors that can.
"""

from __future__ import annotations

import dataclasses
import threading

import pytest
import torch


@dataclasses.dataclass
class FakeCuda:
    """GPUs that are not there.

    Attributes:
        count: how many.
        current: which of them a thread uses that has not said so.
        capability: of each.
        entered: the devices that threads made their current one, with the name of the thread.
    """

    count: int = 2
    current: int = 1
    capability: tuple[int, int] = (9, 0)
    entered: list[tuple[torch.device, str]] = dataclasses.field(default_factory=list)

    def set_device(self, device: torch.device | str | int) -> None:
        """As torch: a device without an index is refused."""
        given = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        if given.index is None:
            raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{given}")
        assert given.index < self.count
        self.entered.append((given, threading.current_thread().name))

    def memory(self, device: torch.device) -> tuple[int, int]:
        """Free and total bytes."""
        assert device.index is not None
        assert device.index < self.count
        return 8 * 2**30, 16 * 2**30

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
        """Answer in torch's place until the test is over."""
        answers = {
            "is_available": lambda: True,
            "device_count": lambda: self.count,
            "current_device": lambda: self.current,
            "set_device": self.set_device,
            "mem_get_info": self.memory,
            "get_device_capability": lambda _=None: self.capability,
            "get_device_name": lambda _=None: "a GPU that is not there",
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)
        return self
