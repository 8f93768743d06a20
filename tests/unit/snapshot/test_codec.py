"""The published snapshot between versions: processes of two of them read it at once while one replaces the other."""

import msgspec

from ostiary.snapshot.tables import ProfileRow, Snapshot


def structs(told, found):
    """Every struct type in a type, by name."""
    if isinstance(told, msgspec.inspect.StructType):
        if told.cls.__name__ in found:
            return found
        found[told.cls.__name__] = told
        for field in told.fields:
            structs(field.type, found)
        return found
    for name in ("types", "item_types", "item_type", "key_type", "value_type"):
        inner = getattr(told, name, None)
        for one in inner if isinstance(inner, tuple) else () if inner is None else (inner,):
            structs(one, found)
    return found


def test_no_row_of_the_snapshot_refuses_what_a_newer_version_adds():
    found = structs(msgspec.inspect.type_info(Snapshot), {})
    assert len(found) > 20
    assert [name for name, told in found.items() if told.forbid_unknown_fields] == []


def test_what_a_profile_does_not_use_is_not_written():
    assert msgspec.to_builtins(ProfileRow()) == {}
