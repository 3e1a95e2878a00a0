"""The admin of what leaves the registry: the TensorBoards of trainers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.html import format_html

from runs import audit, redact
from runs.admin.visible import VisibleAdmin, preformatted
from runs.templatetags.shown import ago, size
from streaming.models import TensorBoard
from streaming.tensorboard.asking import Wish, ask
from streaming.tensorboard.forms import BoardForm

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest


@admin.register(TensorBoard)
class TensorBoardAdmin(VisibleAdmin):
    """What is wanted of each TensorBoard, and how it stands; starting, stopping, starting anew."""

    form = BoardForm
    list_display = ("trainer", "state", "reason_line", "mode", "until", "version", "bytes", "restarts", "served", "looked_at")
    list_filter = ("state", "mode")
    list_select_related = ("trainer",)
    search_fields = ("trainer__name", "trainer__slug")
    fields = (
        "page", "mode", "until", "executable", "arguments", "reload_interval", "memory_limit", "idle_after",
        "state", "since", "why", "version", "pid", "bytes", "started", "restarts", "next_try", "served", "looked_at", "tail",
    )
    readonly_fields = ("page", *fields[8:])
    actions = ("start", "stop", "restart")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: the supervisor makes one for each trainer that has a source."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: it goes with its trainer; until then it can be stopped."""
        return False

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Write what was changed, and who changed it."""
        super().save_model(request, obj, form, change)
        said = {name: str(form.cleaned_data[name]) for name in form.changed_data}
        if said:
            audit.record(request, "change tensorboard", obj.trainer, **said)

    @admin.action(description="Start", permissions=["change"])
    def start(self, request: HttpRequest, queryset: QuerySet[TensorBoard]) -> None:
        """Start them."""
        self._each(request, queryset, Wish.START, "Started")

    @admin.action(description="Stop", permissions=["change"])
    def stop(self, request: HttpRequest, queryset: QuerySet[TensorBoard]) -> None:
        """Stop them, until somebody starts them."""
        self._each(request, queryset, Wish.STOP, "Stopped")

    @admin.action(description="Restart", permissions=["change"])
    def restart(self, request: HttpRequest, queryset: QuerySet[TensorBoard]) -> None:
        """Start them anew."""
        self._each(request, queryset, Wish.RESTART, "Restarted")

    def _each(self, request: HttpRequest, queryset: QuerySet[TensorBoard], wish: Wish, done: str) -> None:
        """Ask it of each that was ticked and that the user may change."""
        boards = [board for board in queryset if self.has_change_permission(request, board)]
        for board in boards:
            ask(request, board.trainer, wish)
        self.message_user(request, f"{done} {len(boards)} TensorBoard{'s' * (len(boards) != 1)}.")

    @admin.display(description="page")
    def page(self, board: TensorBoard) -> str:
        """The page of its trainer."""
        return format_html('<a href="{}#tensorboard">{}</a>', board.trainer.get_absolute_url(), board.trainer.name)

    @admin.display(description="reason")
    def reason_line(self, board: TensorBoard) -> str:
        """The beginning of why it stands so."""
        return redact.text(board.reason)[:120] or "–"

    @admin.display(description="reason")
    def why(self, board: TensorBoard) -> str:
        """Why it stands so."""
        return redact.text(board.reason) or "–"

    @admin.display(description="memory", ordering="memory")
    def bytes(self, board: TensorBoard) -> str:
        """What it and its data server take."""
        return size(board.memory)

    @admin.display(description="runs served of those on disk")
    def served(self, board: TensorBoard) -> str:
        """How many runs it shows."""
        known = [board.runs_served, board.runs_on_disk]
        return " of ".join("–" if number is None else f"{number:,}" for number in known)

    @admin.display(description="looked at", ordering="seen")
    def looked_at(self, board: TensorBoard) -> str:
        """When the supervisor last looked at it."""
        return ago(board.seen)

    @admin.display(description="end of its log")
    def tail(self, board: TensorBoard) -> str:
        """The end of its log where it failed."""
        return preformatted("\n".join(redact.text(line) for line in board.log_tail.splitlines()))
