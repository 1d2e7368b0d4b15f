from datetime import date

import pytest

from edgellm.bundle.chat import derive

TODAY = date(2026, 3, 4)
LOOP = "{% for m in messages %}"
ROLE = "{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}"
PROMPT = "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
ALTERNATE = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
)

# Each in the manner of a published family; none is copied from one.
TEMPLATES = {
    "plain": LOOP + ROLE + "{% endfor %}" + PROMPT,
    "default system": LOOP
    + "{% if loop.first and m['role'] != 'system' %}"
    + "{{ '<|system|>\nBe kind.<|end|>\n' }}{% endif %}"
    + ROLE
    + "{% endfor %}"
    + PROMPT,
    "bos and trimmed": "{{ bos_token }}"
    + LOOP
    + "{{ '[' + m['role'] + ']' + m['content'] | trim + '[/]' }}{% endfor %}"
    + "{% if add_generation_prompt %}[assistant]{% endif %}",
    "always a system block": "{{ bos_token + '[system]Facts.\n' }}"
    + "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}"
    + "{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ '[/]' }}"
    + "{% for m in rest %}{{ '[' + m['role'] + ']' + m['content'] + '[/]' }}{% endfor %}"
    + "{% if add_generation_prompt %}[assistant]{% endif %}",
    "ends otherwise": LOOP
    + ROLE
    + "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}"
    + "{% else %}{{ eos_token }}{% endif %}",
}
NO_SYSTEM = {
    "refuses": "{% if messages[0]['role'] == 'system' %}"
    + "{{ raise_exception('no system') }}{% endif %}"
    + LOOP
    + ALTERNATE
    + ROLE
    + "{% endfor %}"
    + PROMPT,
    "inside the question": LOOP
    + "{% if m['role'] == 'user' %}{{ '[Q]' }}"
    + "{% if loop.index0 == 1 and messages[0]['role'] == 'system' %}"
    + "{{ '<<' + messages[0]['content'] + '>>' }}{% endif %}{{ m['content'] + '[/Q]' }}"
    + "{% elif m['role'] == 'assistant' %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}",
}
NO_TABLE = {
    "counts": LOOP + "{{ loop.index }}" + ROLE + "{% endfor %}",
    "last message only": "{{ messages[-1]['content'] }}",
    "repeats": LOOP + ROLE + ROLE + "{% endfor %}",
    "changes contents": LOOP + "{{ m['content'] | upper }}{% endfor %}",
    "depends on contents": LOOP
    + ROLE
    + "{% if '=' in m['content'] %}{{ '!' }}{% endif %}{% endfor %}"
    + PROMPT,
    "no jinja": "{% for",
    "fails": "{{ messages[0].none.at_all }}",
    "adds a number": LOOP + "{{ m['content'] + 1 }}{% endfor %}",
}


def derived(template):
    return derive(template, bos="<s>", eos="</s>", today=TODAY)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_becomes_a_table_with_a_system_role(name):
    result = derived(TEMPLATES[name])

    assert result.note is None
    assert set(result.chat.roles) == {"user", "assistant", "system"}


def test_the_table_reads_as_one_would_write_it():
    chat = derived(TEMPLATES["default system"]).chat

    assert (chat.roles["user"].prefix, chat.roles["user"].suffix) == ("<|user|>\n", "<|end|>\n")
    assert chat.default_system == "Be kind."
    assert chat.generation_prompt == "<|assistant|>\n"
    assert chat.render((("user", "hi"),)) == (
        "<|system|>\nBe kind.<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\n"
    )


def test_a_system_message_replaces_the_default():
    chat = derived(TEMPLATES["default system"]).chat

    assert "Be kind." not in chat.render((("system", "Be brief."), ("user", "hi")))


def test_contents_are_trimmed_where_the_template_does():
    chat = derived(TEMPLATES["bos and trimmed"]).chat

    assert chat.render((("user", " hi\n"),)) == "<s>[user]hi[/][assistant]"


@pytest.mark.parametrize("name", NO_SYSTEM)
def test_a_template_without_a_system_role_says_so(name):
    result = derived(NO_SYSTEM[name])

    assert set(result.chat.roles) == {"user", "assistant"}
    assert result.note.startswith("the chat template takes no system message")


@pytest.mark.parametrize("name", NO_TABLE)
def test_a_template_that_no_table_can_say_is_left_out_with_the_reason(name):
    result = derived(NO_TABLE[name])

    assert result.chat is None
    assert result.note.startswith("the chat template cannot be written as a table: ")


def test_a_date_is_fixed_and_said():
    result = derived("{{ strftime_now('%d %b %Y') }}" + TEMPLATES["plain"])

    assert result.chat.start == "04 Mar 2026"
    assert result.note == "the chat template prints the date, which stays 04 Mar 2026"


def test_a_template_cannot_reach_out_of_its_sandbox():
    result = derived("{{ messages.__class__.__mro__[1].__subclasses__() }}")

    assert result.chat is None
