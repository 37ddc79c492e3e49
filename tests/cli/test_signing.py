"""The commands that sign, as a user types them."""

import shutil
from pathlib import Path

import pytest

from acclimate import Bundle
from acclimate.key_files import load_private_key, load_public_key

from .conftest import Acclimate

pytest.importorskip("cryptography")


@pytest.fixture
def signed(acclimate: Acclimate, tiny_bundle: Path, tmp_path: Path) -> Path:
    """A folder with a key pair and a bundle signed with it."""
    shutil.copy(tiny_bundle, tmp_path / "tiny.acc")
    assert acclimate("keygen", "fleet.pem").code == 0
    assert acclimate("sign", "tiny.acc", "--key", "fleet.pem", "--out", "signed.acc").code == 0
    return tmp_path


def test_the_way_of_an_operator(acclimate: Acclimate, signed: Path) -> None:
    """keygen, sign and inspect in turn: inspect names the key, and says whether it is one of those given."""
    public = load_public_key(signed / "fleet.pem.pub")
    for trust, key in (((), public.id), (("--trust", "fleet.pem.pub"), public.id), (("--trust", public.id), public.id)):
        found = acclimate("inspect", "signed.acc", *trust, "--json").json()["signature"]
        assert found == {"key": key, "checked": True, "trusted": bool(trust)}
    assert acclimate("inspect", "tiny.acc", "--json").json()["signature"] is None
    with Bundle(signed / "signed.acc") as bundle:
        assert bundle.check_signature([public]) == public.id
    assert (
        f"by {public.id[:16]}..., which is trusted" in acclimate("inspect", "signed.acc", "--trust", public.id).output
    )
    assert "whoever that is" in acclimate("inspect", "signed.acc").output


def test_a_key_pair_is_told(acclimate: Acclimate, tmp_path: Path) -> None:
    """People see where the files are, programs get one document; the private key is on neither."""
    found = acclimate("keygen", "a.pem", "--json").json()
    assert found == {"private": "a.pem", "public": "a.pem.pub", "key": load_public_key(tmp_path / "a.pem.pub").id}
    said = acclimate("keygen", "b.pem")
    assert "wrote b.pem.pub: give it to the devices" in said.output
    for name in ("a.pem", "b.pem"):
        assert load_private_key(tmp_path / name).seed.hex() not in said.output + str(found)


def test_a_passphrase_comes_from_the_environment(
    acclimate: Acclimate, signed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It encrypts the file, and signing takes it from there too; a wrong one is refused."""
    monkeypatch.setenv("ACCLIMATE_PASSPHRASE", "correct horse")
    assert acclimate("keygen", "secret.pem", "--passphrase").code == 0
    assert "ENCRYPTED" in (signed / "secret.pem").read_text()
    command = ("sign", "signed.acc", "--key", "secret.pem", "--overwrite")
    assert acclimate(*command, "--json").json()["key"] == load_public_key(signed / "secret.pem.pub").id
    monkeypatch.setenv("ACCLIMATE_PASSPHRASE", "battery staple")
    refused = acclimate(*command)
    assert (refused.code, refused.output) == (1, "")
    assert "Check the passphrase too" in refused.errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("keygen", "fleet.pem"), "fleet.pem is there already"),
        (("sign", "tiny.acc", "--key", "fleet.pem"), "tiny.acc is there already"),
        (("sign", "tiny.acc", "--key", "fleet.pem.pub", "--out", "b.acc"), "expected an Ed25519 private key"),
        (("sign", "tiny.acc", "--key", "nothing.pem", "--out", "b.acc"), "nothing.pem: No such file"),
        (("sign", "fleet.pem", "--key", "fleet.pem", "--out", "b.acc"), "not a readable bundle"),
        (("inspect", "tiny.acc", "--trust", "fleet.pem.pub"), "tiny.acc: expected a signature by a trusted key"),
        (("inspect", "signed.acc", "--trust", "ab" * 32), "found one by"),
        (("inspect", "signed.acc", "--trust", "fleet.pem"), "found a private one"),
    ],
)
def test_errors_are_one_line(acclimate: Acclimate, signed: Path, arguments: tuple[str, ...], message: str) -> None:
    """A refusal is one line on standard error with exit code 1, and no file is made or changed."""
    before = {path.name: path.read_bytes() for path in signed.iterdir()}
    found = acclimate(*arguments)
    assert (found.code, found.output) == (1, "")
    assert found.errors.startswith("error: ")
    assert message in found.errors
    assert found.errors.count("\n") == 1
    assert {path.name: path.read_bytes() for path in signed.iterdir()} == before
