import pytest

from snip_cli import registry
from snip_cli.errors import ConfigError
from snip_cli.registry import Registry, load_builtin, load_folder, nearest

KINDS = {
    "method": registry.methods,
    "model": registry.models,
    "dataset": registry.datasets,
    "init": registry.initialisers,
}


@pytest.fixture
def colours():
    """A registry with two functions, of which one has options."""
    colours = Registry("colour")

    @colours.register("red")
    def red(shape, *, bright: bool = True, share: float = 0.5, times: int = 1, name: str = "x", free=None):
        return "red", shape

    @colours.register("green")
    def green(shape):
        return "green", shape

    return colours


@pytest.fixture
def user(tmp_path):
    """A user's folder."""
    return tmp_path


def method_file(path, name, value="None"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".yaml").write_text(f"name: {name}\n")
    path.write_text(
        f"from snip_cli.registry import methods\n\n@methods.register('{name}')\ndef {name}():\n    return {value}\n"
    )


def test_a_registered_function_is_found_by_its_name(colours):
    assert colours["red"](3) == ("red", 3)


def test_registering_gives_the_function_back():
    def blue():
        return None

    assert Registry("colour").register("blue")(blue) is blue


def test_names_are_sorted(colours):
    assert colours.names() == ["green", "red"]


def test_a_name_that_another_file_has_taken_is_refused(colours):
    def red():
        return None

    red.__module__ = "somewhere.else"
    with pytest.raises(ConfigError, match=r"colour 'red' is defined twice, in .*test_registry and somewhere\.else"):
        colours.register("red")(red)
    assert colours["red"](3) == ("red", 3)


def test_a_name_that_the_same_file_has_taken_is_refused(colours):
    def another_red():
        return None

    with pytest.raises(ConfigError, match="colour 'red' is defined twice"):
        colours.register("red")(another_red)


CHOICES = "choose one of green, red, or add your own with --config-dir DIR."


def test_an_unknown_name_is_refused_with_the_nearest_and_all_names(colours):
    with pytest.raises(ConfigError) as refusal:
        colours["rad"]
    assert str(refusal.value) == f"There is no colour 'rad' (did you mean 'red'?): {CHOICES}"


def test_a_name_near_to_none_gets_no_hint(colours):
    with pytest.raises(ConfigError) as refusal:
        colours["violet"]
    assert str(refusal.value) == f"There is no colour 'violet': {CHOICES}"


def test_nearest_hints_at_one_word_or_at_none():
    assert nearest("sparsty", ["seed", "sparsity"]) == " (did you mean 'sparsity'?)"
    assert nearest("xyz", ["seed", "sparsity"]) == ""


def test_options_of_the_annotated_types_pass(colours):
    colours.check_options("red", {"bright": False, "share": 0.1, "times": 2, "name": "y", "free": [1, 2]})
    colours.check_options("green", {})


def test_a_whole_number_will_do_for_a_number(colours):
    colours.check_options("red", {"share": 1})


def test_an_unknown_option_is_refused_with_the_nearest_and_all_options(colours):
    with pytest.raises(ConfigError) as refusal:
        colours.check_options("red", {"brigth": True})
    assert str(refusal.value) == (
        "colour 'red' has no option 'brigth' (did you mean 'bright'?); it has: bright, share, times, name, free."
    )


@pytest.mark.parametrize(("name", "option"), [("green", "bright"), ("red", "shape")])
def test_what_is_no_keyword_option_is_unknown(name, option, colours):
    with pytest.raises(ConfigError, match=f"colour '{name}' has no option '{option}'"):
        colours.check_options(name, {option: True})


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("bright", 1, "bool"),
        ("bright", "yes", "bool"),
        ("share", True, "float"),
        ("share", "0.5", "float"),
        ("times", 1.0, "int"),
        ("times", True, "int"),
        ("name", 3, "str"),
        ("share", None, "float"),
    ],
)
def test_an_option_of_another_type_is_refused(option, value, wanted, colours):
    with pytest.raises(ConfigError) as refusal:
        colours.check_options("red", {option: value})
    assert str(refusal.value) == f"colour.{option} must be of type {wanted}: got {value!r}."


@pytest.mark.parametrize("kind", KINDS)
def test_loading_the_builtin_functions_again_changes_nothing(kind):
    before = dict(KINDS[kind]._functions)
    load_builtin()
    assert KINDS[kind]._functions == before
    assert KINDS[kind].names()
    assert KINDS[kind].kind == kind


def test_the_python_files_in_a_users_folder_and_beside_its_yaml_are_imported(user):
    method_file(user / "mine.py", "mine")
    method_file(user / "more" / "deep.py", "deep")
    (user / "notes.txt").write_text("not Python")
    (user / "venv").mkdir()
    (user / "venv" / "setup.py").write_text("raise SystemExit('nobody asked for this')\n")
    load_folder(user)
    assert {"mine", "deep", "snip"} < set(registry.methods.names())


def test_a_users_folder_is_imported_once(user):
    method_file(user / "mine.py", "mine")
    load_folder(user)
    first = registry.methods["mine"]
    load_folder(user)
    assert registry.methods["mine"] is first


def test_files_whose_paths_differ_only_in_a_slash_are_both_imported(user):
    method_file(user / "some_file.py", "flat")
    method_file(user / "some" / "file.py", "nested")
    load_folder(user)
    assert {"flat", "nested"} < set(registry.methods.names())


def test_files_of_the_same_name_in_two_folders_are_both_imported(user):
    for folder in ("one", "two"):
        method_file(user / folder / "mine.py", folder)
        load_folder(user / folder)
    assert {"one", "two"} < set(registry.methods.names())


@pytest.mark.parametrize("content", ["import no_such_module", "def broken(:", "1 / 0"])
def test_a_users_file_that_cannot_be_imported_is_reported_by_name_every_time(content, user):
    (user / "wrong.py").write_text(content + "\n")
    for _ in range(2):
        with pytest.raises(ConfigError) as refusal:
            load_folder(user)
        assert str(refusal.value).startswith(f"{user / 'wrong.py'} cannot be imported: ")


def test_a_users_method_may_not_take_the_name_of_a_builtin_one(user):
    method_file(user / "mine.py", "snip")
    with pytest.raises(ConfigError, match="method 'snip' is defined twice"):
        load_folder(user)


@pytest.mark.parametrize(
    "name", ["a/../../evil", "../evil", "a\\b", ".", "..", ".hidden", "", "a\nb", "a\0b", "a" * 65]
)
def test_a_name_that_no_folder_can_have_is_refused(name):
    with pytest.raises(ConfigError, match="cannot be registered, because its name becomes part of a folder's name"):
        Registry("method").register(name)(lambda: None)


@pytest.mark.parametrize("name", ["snip", "my-method.v1", "é", "a b", "a" * 64])
def test_other_names_are_accepted(name):
    registry = Registry("method")
    registry.register(name)(len)
    assert registry.names() == [name]
