import pytest

from edgellm.errors import UsageError
from edgellm.remote import hosts


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgellm").mkdir()
    return (tmp_path / "edgellm/hosts.toml").write_text


def test_a_name_that_is_not_in_the_file_goes_to_ssh_as_it_is(write):
    write("[pi4]\naddress = '10.0.0.4'\n")
    assert hosts.find("pi@board").ssh_arguments == ("--", "pi@board")


def test_no_file_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert hosts.find("board").ssh_arguments == ("--", "board")


def test_a_short_name_stands_for_what_its_table_says(write):
    write("[pi4]\naddress = '10.0.0.4'\nuser = 'pi'\nport = 2222\nkey = '/keys/pi'\n")
    expected = ("-l", "pi", "-p", "2222", "-i", "/keys/pi", "--", "10.0.0.4")
    assert hosts.find("pi4").ssh_arguments == expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[pi4]\nadress = 'x'\n", "pi4 has an unknown key 'adress'; did you mean 'address'"),
        ("[pi4]\nport = '22'\n", "pi4.port should be an integer, not"),
        ("pi4 = 3\n", "pi4 should be an object, not 3"),
        ("[pi4\n", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(write, text, sentence):
    write(text)
    with pytest.raises(UsageError, match=r"hosts\.toml") as caught:
        hosts.find("pi4")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["", "-oProxyCommand=reboot"])
def test_an_option_of_ssh_is_no_host(name):
    with pytest.raises(UsageError, match="is no host"):
        hosts.find(name)
