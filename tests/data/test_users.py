import pytest

from llmrec.data import Users
from llmrec.errors import DataError
from llmrec.types import State

TABLE = {"user_id": [3, 1], "age": [24, None], "zip": ["01234", "9"]}


def test_profiles_come_in_the_asked_order_with_none_for_unknown():
    users = Users.from_table(TABLE)
    assert len(users) == 2
    assert users.columns == ["user_id", "age", "zip"]
    assert users.profiles(["1", "nobody", "3", "3"]) == {
        "age": [None, None, 24, 24],
        "zip": ["9", None, "01234", "01234"],
    }
    assert users.profiles([]) == {"age": [], "zip": []}


def test_from_file_and_rename(tmp_path):
    path = tmp_path / "users.tsv"
    path.write_text("uid\tAge\n007\t30\n", encoding="utf-8")
    users = Users.from_file(path, id_column="uid", rename={"Age": "age"})
    assert users.profiles(["007"]) == {"age": [30]}


def test_a_user_has_one_row():
    with pytest.raises(DataError, match=r"1 ids in more than one row, among them \['1'\]"):
        Users.from_table({"user_id": [1, 1]})
    with pytest.raises(DataError, match="rename the field"):
        Users.from_table({"uid": [1], "user_id": [2]}, id_column="uid")


def test_fingerprint_sees_values():
    assert Users.from_table(TABLE).fingerprint != Users.from_table({**TABLE, "age": [24, 25]}).fingerprint


def test_one_string_is_not_a_list_of_users():
    with pytest.raises(DataError, match="user_ids must be a list of ids, got one string"):
        Users.from_table(TABLE).profiles("42")


def test_repr_is_short():
    assert repr(Users.from_table({"user_id": ["1", "2"], "age": [3, 4]})) == "Users(2 users, columns: user_id, age)"


def test_state_round_trip():
    users = Users.from_table(TABLE)
    back = Users.from_state(users.state())
    assert (back.fingerprint, back.users, back.columns) == (users.fingerprint, users.users, users.columns)
    with pytest.raises(DataError, match="damaged"):
        Users.from_state(State(arrays={"table": users.state().arrays["table"][:30]}))
