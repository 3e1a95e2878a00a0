"""What is said to a TensorBoard by forms, checked: of its page and of the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from streaming.models import TensorBoard
from streaming.tensorboard.asking import MOST_MINUTES, Wish
from streaming.tensorboard.command import ALLOWED, check_arguments, check_executable


class Asked(forms.Form):
    """A wish, and for how long."""

    wish = forms.ChoiceField(choices=Wish.choices, error_messages={"invalid_choice": "There is no such thing to ask for."})
    minutes = forms.IntegerField(
        min_value=1, max_value=MOST_MINUTES, required=False,
        error_messages={"invalid": "Say the minutes as a whole number."},
    )

    def clean(self) -> dict[str, Any]:
        """Minutes are for starting."""
        said = self.cleaned_data
        if said.get("minutes") and said.get("wish") not in (Wish.START, None):
            self.add_error("minutes", "Only a start can be for some minutes.")
        return said


class BoardForm(forms.ModelForm):
    """The admin's form: which program and which arguments, of those that this machine allows."""

    executable = forms.ChoiceField(required=False, label="Program")
    arguments = forms.JSONField(
        required=False, widget=forms.Textarea(attrs={"rows": 3, "cols": 80}),
        help_text="More arguments, as a list: [\"--samples_per_plugin=images=50\"]. Allowed are "
                  + ", ".join(f"--{name}" for name in ALLOWED) + ".",
    )

    class Meta:
        model = TensorBoard
        fields = ("mode", "until", "executable", "arguments", "reload_interval", "memory_limit", "idle_after")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """With the programs that may be chosen now; one that may no longer is told as such when it is saved."""
        super().__init__(*args, **kwargs)
        known = [(program, program) for program in settings.TRAINMON_TB_PROGRAMS]
        now = self.instance.executable
        gone = [(now, f"{now} (not allowed any more)")] if now and now not in settings.TRAINMON_TB_PROGRAMS else []
        choice: Any = self.fields["executable"]
        choice.choices = [("", "trainmon's own"), *known, *gone]
        choice.help_text = "Others are named by whoever keeps this machine, in TRAINMON_TB_PROGRAMS."

    def clean_executable(self) -> str:
        """One of this machine's programs."""
        executable: str = self.cleaned_data["executable"]
        check_executable(executable)
        return executable

    def clean_arguments(self) -> list[str]:
        """Flags that name no file, address or program."""
        arguments: list[str] = self.cleaned_data["arguments"] or []
        check_arguments(arguments)
        return arguments
