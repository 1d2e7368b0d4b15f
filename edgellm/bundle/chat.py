"""Turns a jinja chat template into a table that a board applies without a template engine.

The template is a program, so it is asked rather than read: conversations of marked contents are
rendered, the text around the marks is the table, and the table is then held against the template
on other conversations. What no table can say leaves the bundle without one, with the reason.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

import jinja2
import jinja2.sandbox

from edgellm.records.manifest import ChatRole, ChatTemplate

Messages = tuple[tuple[str, str], ...]
Render = Callable[[Messages, bool], str]

MARKS = tuple(f"<<probe {number}>>" for number in range(4))
SPACED = f"  {MARKS[0]}\n\n"
# What contents may do to a template: spaces at the ends, other scripts, its own kind of markup.
CONTENTS = (
    "2 + 2 = ?",
    " spaces\n at the ends \n",
    "你好 世界 🦜",
    "{{ 'a' }} <b> [INST]",
    "é\n\n- a\n- b",
)
TURNS = (1, 3, 5)  # messages, the user's being first and last
# A date that no template is written around; a second one shows whether it is printed.
OTHER_DAY = date(2001, 2, 3)


@dataclass(frozen=True, slots=True)
class Derived:
    """A template as a table, or why not.

    Attributes:
        chat: The table; None where none can say it.
        note: What the user should know: why there is none, or what it leaves out.
    """

    chat: ChatTemplate | None
    note: str | None = None


class _NoTable(Exception):
    """The template does what no table can say."""


def derive(template: str, *, bos: str = "", eos: str = "", today: date) -> Derived:
    """Derive the table of a jinja chat template.

    Args:
        template: The source.
        bos: Text of the token that begins a sequence; empty where there is none.
        eos: Text of the token that ends an answer.
        today: The day that a template which prints the date is to print.
    """
    try:
        render = _renderer(template, bos, eos, today)
        chat, left_out = _table(render, bos)
        _verify(chat, render)
        probe = (("user", MARKS[0]),)
        if render(probe, True) != _renderer(template, bos, eos, OTHER_DAY)(probe, True):
            left_out = f"the chat template prints the date, which stays {today:%d %b %Y}"
        return Derived(chat, left_out)
    except (_NoTable, jinja2.TemplateError) as error:
        return Derived(None, f"the chat template cannot be written as a table: {error}")


def _renderer(template: str, bos: str, eos: str, today: date) -> Render:
    """Compile a template as transformers does, with the same flags and functions."""

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = today.strftime
    compiled = environment.from_string(template)

    def render(messages: Messages, generate: bool) -> str:
        listed = [{"role": role, "content": content} for role, content in messages]
        try:
            return compiled.render(
                messages=listed,
                add_generation_prompt=generate,
                bos_token=bos,
                eos_token=eos,
                tools=None,
                documents=None,
            )
        except (TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise _NoTable(f"it fails with {type(error).__name__}: {error}") from error

    return render


def _table(render: Render, bos: str) -> tuple[ChatTemplate, str | None]:
    user, assistant, start, generation = _turns(render)
    strips = SPACED not in render((("user", SPACED),), True)
    roles = {"user": user, "assistant": assistant}
    try:
        system, begin, default = _system(render, user, start, bos)
    except (_NoTable, jinja2.TemplateError) as error:
        left_out = f"the chat template takes no system message ({error})"
        return ChatTemplate(start, roles, generation, None, strips), left_out
    roles["system"] = system
    return ChatTemplate(begin, roles, generation, default, strips), None


def _turns(render: Render) -> tuple[ChatRole, ChatRole, str, str]:
    """Return the user's and the assistant's surroundings, the start, and the generation prompt.

    Only sums are seen, such as an answer's end with the next question's start. What the template
    writes at the end of a conversation splits them, as far as it agrees (Phi-3 ends with more).
    """
    asked, answered, again = MARKS[:3]
    question, answer = ("user", asked), ("assistant", answered)
    _, end = _split(render((question,), False), (asked,))
    _, prompted = _split(render((question,), True), (asked,))
    *_, answer_end = _split(render((question, answer), False), (asked, answered))
    whole = render((question, answer, ("user", again)), True)
    before, middle, next_turn, _ = _split(whole, (asked, answered, again))
    user_suffix = _common_start(end, prompted, middle)
    assistant_suffix = _common_start(answer_end, next_turn)
    user_prefix = next_turn.removeprefix(assistant_suffix)
    return (
        ChatRole(user_prefix, user_suffix),
        ChatRole(middle.removeprefix(user_suffix), assistant_suffix),
        _without_suffix(before, user_prefix),
        prompted.removeprefix(user_suffix),
    )


def _common_start(*texts: str) -> str:
    columns = zip(*texts, strict=False)
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, columns)
    return "".join(letters[0] for letters in same)


def _system(
    render: Render, user: ChatRole, start: str, bos: str
) -> tuple[ChatRole, str, str | None]:
    """Return the system role, the start before it, and the system message that is the default."""
    said, asked = MARKS[:2]
    before, between, _ = _split(render((("system", said), ("user", asked)), False), (said, asked))
    suffix = _without_suffix(between, user.prefix)
    if before.startswith(start) and not start.startswith(before):
        return ChatRole(before.removeprefix(start), suffix), start, None
    # There is a system block without a system message: its content is the default.
    default = _without_suffix(_without_prefix(start, before), suffix)
    begin = bos if before.startswith(bos) else ""
    return ChatRole(before.removeprefix(begin), suffix), begin, default


def _split(text: str, marks: Sequence[str]) -> list[str]:
    """Return the texts around the marks, which must each stand once and in order."""
    parts = []
    for mark in marks:
        if text.count(mark) != 1:
            raise _NoTable("it repeats, drops or reorders messages")
        before, text = text.split(mark)
        parts.append(before)
    return [*parts, text]


def _without_prefix(text: str, prefix: str) -> str:
    if not text.startswith(prefix):
        raise _NoTable("what it writes around a message depends on the messages beside it")
    return text.removeprefix(prefix)


def _without_suffix(text: str, suffix: str) -> str:
    if not text.endswith(suffix):
        raise _NoTable("what it writes around a message depends on the messages beside it")
    return text.removesuffix(suffix)


def _verify(chat: ChatTemplate, render: Render) -> None:
    """Hold the table against the template on conversations that it was not made from."""
    contents = itertools.cycle(CONTENTS)
    systems = (False, True) if "system" in chat.roles else (False,)
    for turns, system, _ in itertools.product(TURNS, systems, CONTENTS):
        roles = itertools.islice(itertools.cycle(("user", "assistant")), turns)
        messages = tuple((role, next(contents)) for role in roles)
        if system:
            messages = (("system", next(contents)), *messages)
        if chat.render(messages) != render(messages, True):
            raise _NoTable(
                f"the table differs from it on a conversation of {len(messages)} messages"
            )
