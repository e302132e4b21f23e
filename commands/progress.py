"""Progress of a slow start: a bar for each download, or plain lines without a terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from pipeline.support import progress

PLAIN_STEP = 0.1
"""Share of a task after which the next plain line follows."""


class StartProgress:
    """Shows progress: `with StartProgress(console) as progress: … report=progress.report`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Remove the bars; a second call changes nothing."""
        if self._tasks:  # bars that never started would still print an empty line
            self._bars.stop()

    def report(self, step: progress.Progress) -> None:
        """Show one step of a download or another slow task."""
        if step.whole:  # short, and in the table of engines at the end
            return
        if not self._console.is_terminal:
            self._say(step)
            return
        if step.task not in self._tasks:
            self._bars.start()
            self._tasks[step.task] = self._bars.add_task(step.task, total=step.total or None)
        self._bars.update(self._tasks[step.task], completed=step.done, total=step.total or None)

    def _say(self, step: progress.Progress) -> None:
        share = step.done / step.total if step.total else 0.0
        if step.task not in self._said or share >= self._said[step.task] + PLAIN_STEP or share == 1.0:
            if self._said.get(step.task) == share:
                return
            self._said[step.task] = share
            self._console.print(f"{step.task}: {share:.0%}" if step.total else step.task, highlight=False)
