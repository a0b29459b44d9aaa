"""Custody of templates: encrypted, private, forgotten without a trace, never half written."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_agent.people import Custody, Enrolled, Known, PeopleError
from edge_agent.people.custody import CREDENTIAL, new_person

NETWORK = "mobilefacenet"


def person(name: str, seed: int = 1) -> Enrolled:
    numbers = np.random.default_rng(seed).normal(size=192).astype(np.float32)
    return new_person(name, NETWORK, [numbers / np.linalg.norm(numbers)], 1_700_000_000.0, "signed form")


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


@pytest.fixture
def custody(tmp_path: Path) -> Custody:
    return Custody(tmp_path / "people", environment={})


def test_who_is_enrolled_comes_back_whole_and_sorted(custody: Custody) -> None:
    bob, anna = person("Bob", 1), person("Änna Smith", 2)
    custody.enroll(bob)
    custody.enroll(anna)
    found = custody.people()
    assert [p.name for p in found] == ["Bob", "Änna Smith"]
    assert found[0].exported() == bob.exported()
    np.testing.assert_array_equal(found[1].template, anna.template)
    assert custody.find("änna  smith").key == anna.key


def test_a_second_enrolment_under_the_same_name_replaces_the_first(custody: Custody) -> None:
    custody.enroll(person("Bob", 1))
    custody.enroll(person("bob", 2))
    assert [p.name for p in custody.people()] == ["bob"]


def test_names_and_templates_are_encrypted_and_no_one_else_may_read_them(custody: Custody) -> None:
    anna = person("Anna Canary")
    custody.enroll(anna)
    everything = contents(custody.folder)
    for secret in (b"Canary", anna.key.encode(), anna.template.tobytes()[:16], b"signed form"):
        assert secret not in everything
    for path in custody.folder.iterdir():
        if path.suffix != ".lock":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(custody.folder.stat().st_mode) == 0o700


def test_who_is_forgotten_cannot_be_read_even_with_what_was_on_the_disk_before(custody: Custody) -> None:
    for seed, name in enumerate(("Anna", "Bob")):
        custody.enroll(person(name, seed))
    before = {path.name: path.read_bytes() for path in custody.folder.iterdir()}
    held = os.open(custody.folder / "people.bin", os.O_RDONLY)
    assert custody.forget(["anna"]) == 1
    assert [p.name for p in custody.people()] == ["Bob"]
    assert set(os.read(held, 10_000)) == {0}, "the old file was not overwritten"
    os.close(held)
    # Someone who copied the file earlier and reads the key now learns nothing.
    (custody.folder / "people.bin").write_bytes(before["people.bin"])
    with pytest.raises(PeopleError, match="damaged, or its key is gone"):
        custody.people()


def test_the_last_one_who_is_forgotten_leaves_no_file_and_no_key(custody: Custody) -> None:
    custody.enroll(person("Anna"))
    custody.forget(["Anna"])
    assert sorted(path.name for path in custody.folder.iterdir()) == ["people.lock"]
    assert custody.people() == []


def test_an_unknown_name_removes_nobody(custody: Custody) -> None:
    custody.enroll(person("Anna"))
    with pytest.raises(PeopleError, match=r"'Ana' is enrolled.*Anna"):
        custody.forget(["Anna", "Ana"])
    assert len(custody.people()) == 1


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:40] + b"x" + b[41:], lambda b: b"", lambda b: b"no"])
def test_a_damaged_file_is_an_error_that_says_what_to_do_and_can_be_forgotten(custody: Custody, damage: object) -> None:
    custody.enroll(person("Anna"))
    file = custody.folder / "people.bin"
    file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]
    with pytest.raises(PeopleError, match="forget --all"):
        custody.people()
    with pytest.raises(PeopleError):
        custody.enroll(person("Bob"))
    custody.forget_all()
    custody.enroll(person("Bob"))
    assert [p.name for p in custody.people()] == ["Bob"]


def test_a_power_cut_while_the_key_changes_loses_nobody(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, name in enumerate(("Anna", "Bob")):
        custody.enroll(person(name, seed))

    def cut(*_args: object, **_more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(custody, "_write", cut)  # the new key is stored, the new file is not
    with pytest.raises(KeyboardInterrupt):
        custody.forget(["Anna"])
    again = Custody(custody.folder, environment={})
    assert [p.name for p in again.people()] == ["Anna", "Bob"]
    again.forget(["Anna"])
    assert [p.name for p in again.people()] == ["Bob"]


def test_the_key_comes_from_a_file_or_a_systemd_credential(tmp_path: Path) -> None:
    key = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
    own = tmp_path / "own.key"
    own.write_text(key + "\n")
    own.chmod(0o644)
    custody = Custody(tmp_path / "a", own, environment={})
    with pytest.raises(PeopleError, match="chmod 600"):
        custody.enroll(person("Anna"))
    own.chmod(0o600)
    custody.enroll(person("Anna"))
    assert not (custody.folder / "people.key").exists()

    (tmp_path / CREDENTIAL).write_text(key)
    by_credential = Custody(custody.folder, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert [p.name for p in by_credential.people()] == ["Anna"]
    with pytest.raises(PeopleError, match="does not exist"):
        Custody(tmp_path / "b", tmp_path / "none.key", environment={}).enroll(person("Anna"))
    own.write_text("too short")
    with pytest.raises(PeopleError, match="32 bytes"):
        custody.people()


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\nb\x00"])
def test_names_that_cannot_be_shown_are_refused(name: str) -> None:
    with pytest.raises(PeopleError, match="printable"):
        person(name)


def test_the_people_in_memory_follow_the_file_and_are_overwritten(custody: Custody) -> None:
    known = Known(custody)
    assert known.refresh()
    assert known.templates(NETWORK) == {}
    anna = person("Anna")
    custody.enroll(anna)
    assert known.refresh()
    assert not known.refresh()
    held = known.templates(NETWORK)[anna.key]
    np.testing.assert_array_equal(held, anna.template)
    assert known.templates("sface") == {}
    assert (known.name(anna.key), known.name("p_none"), known.names) == ("Anna", None, ("Anna",))
    version = known.version
    custody.forget(["Anna"])
    assert known.refresh()
    assert known.version > version
    assert known.name(anna.key) is None
    assert not held.any(), "the template is still in memory"


def test_a_file_that_cannot_be_read_means_that_nobody_is_known(custody: Custody) -> None:
    known = Known(custody)
    custody.enroll(person("Anna"))
    known.refresh()
    (custody.folder / "people.bin").write_bytes(b"damaged")
    assert known.refresh()
    assert known.names == ()
    assert "forget --all" in known.problem


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_enrolls_belongs_to_the_user_whose_state_it_is(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    custody = Custody(tmp_path / "people", environment={})
    custody.enroll(person("Anna"))
    custody.forget(["Anna"])
    custody.enroll(person("Bob"))
    made = [custody.folder, *custody.folder.iterdir()]
    assert len(made) == 4
    assert {path.stat().st_uid for path in made} == {65534}


def test_without_the_extra_the_error_says_how_to_install_it(custody: Custody, monkeypatch: pytest.MonkeyPatch) -> None:
    custody.enroll(person("Anna"))
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(PeopleError, match=r"edge-emotion-agent\[identity\]"):
        custody.people()


def test_on_a_full_disk_nothing_is_lost_and_everybody_can_still_be_forgotten(
    custody: Custody, monkeypatch: pytest.MonkeyPatch
) -> None:
    custody.enroll(person("Anna"))
    custody.enroll(person("Bob"))

    def full(*_args: object, **_more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("edge_agent.people.sealing.replace_durably", full)
        with pytest.raises(PeopleError, match=r"No space left.*forget --all"):
            custody.forget(["Anna"])
        assert [p.name for p in custody.people()] == ["Anna", "Bob"]
        custody.forget_all()
    assert custody.people() == []
