"""Updates: what is written comes back, small and close enough, and always in the same bytes."""

import hashlib
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acclimate.bundle import Bundle, LinearLayer
from acclimate.errors import InputError, OutputExistsError
from acclimate.rounding import Rounded
from acclimate.update import Base, Update, read_update, typical_latent, write_update
from acclimate.update_format import decode, encode, unseal

from .updates import BASE, HASH, KEY, D, K, draw, head, packed


def test_everything_comes_back(tmp_path: Path) -> None:
    """Shipped rows are exactly the shipped ones, new ones within a float16, and names, number, time and note equal."""
    update = head(("c", "a", "new ü"), created=1_700_000_000, note="cracks of line 3")
    found = read_update(packed(tmp_path, update), BASE)
    assert found.classes == ("a", "c", "new ü")
    assert (found.variant, found.number, found.created, found.note) == (HASH, 7, 1_700_000_000, "cracks of line 3")
    assert (found.base, found.signed_by) == (BASE.digest, "")
    order = [1, 0, 2]
    np.testing.assert_array_equal(found.weight[:2], update.weight[order][:2])
    np.testing.assert_array_equal(found.bias, update.bias[order])
    np.testing.assert_allclose(found.weight[2], update.weight[2], rtol=2**-11)
    assert found.weight.dtype == found.bias.dtype == np.dtype(np.float32)
    assert read_update(tmp_path / "u.accu", BASE).classes == found.classes


def test_a_changed_shipped_class(tmp_path: Path) -> None:
    """New parameters under a shipped name need no name; a row that is left out is gone."""
    update = head(("b", "c"), seed=9)
    content = packed(tmp_path, update)
    found = read_update(content, BASE)
    assert found.classes == ("b", "c")
    np.testing.assert_allclose(found.weight, update.weight, rtol=2**-11)
    assert len(content) == 104 + 2 + 2 * (1 + 4 + 2 * D) + 32


def test_renamed_and_merged_rows_are_not_sent(tmp_path: Path) -> None:
    """A shipped row under another name, also one that two rows share, costs its name and no parameters."""
    assert BASE.head is not None
    update = replace(head(BASE.classes), classes=("ab", "ab", "c"))
    content = packed(tmp_path, update)
    assert len(content) == 104 + 2 + 2 * (4 + 2) + 32
    found = read_update(content, BASE)
    assert found.classes == ("ab", "ab", "c")
    np.testing.assert_array_equal(found.weight, BASE.head.weight)
    swapped = replace(update, classes=("b", "a", "c"))
    found = read_update(packed(tmp_path, swapped), BASE)
    assert dict(zip(found.classes, found.bias, strict=True)) == dict(zip(swapped.classes, swapped.bias, strict=True))


def test_a_bundle_without_a_head(tmp_path: Path) -> None:
    """Every row is sent, whether its class was shipped or not."""
    for base in (replace(BASE, head=None), Base(HASH, D, (), None)):
        update = head(("a", "z"))
        found = read_update(packed(tmp_path, update, base), base)
        assert found.classes == ("a", "z")
        np.testing.assert_allclose(found.weight, update.weight, rtol=2**-11)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.data())
def test_any_head_comes_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any choice of kept, changed, renamed, merged and new rows, in any order: each name keeps its own rows."""
    assert BASE.head is not None
    k = data.draw(st.integers(1, 6))
    names = tuple(data.draw(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=k, max_size=k)))
    source = data.draw(st.lists(st.integers(0, 2 * K - 1), min_size=k, max_size=k))
    pool_w = np.concatenate([BASE.head.weight, draw(5, K, D) * np.float32(1e4)])
    pool_b = np.concatenate([BASE.head.bias, draw(6, K)])
    update = Update(HASH, 1, names, pool_w[source], pool_b[source])
    found = read_update(packed(tmp_path_factory.mktemp("any"), update), BASE)

    def rows(u: Update) -> list[tuple[str, float]]:
        return sorted((name, float(bias)) for name, bias in zip(u.classes, u.bias, strict=True))

    assert rows(found) == rows(update)
    by_bias = {float(b): w for b, w in zip(pool_b, pool_w, strict=True)}
    for bias, weight in zip(found.bias, found.weight, strict=True):
        np.testing.assert_allclose(weight, by_bias[float(bias)], rtol=2**-11)


@pytest.mark.parametrize(("k", "changed", "d"), [(2, 1, 256), (10, 10, 1280), (500, 500, 64), (1_000, 1, 64)])
def test_size(tmp_path: Path, k: int, changed: int, d: int) -> None:
    """At most the changed parameters in float16 and 2 KB, signed and with a note of full length."""
    pytest.importorskip("cryptography")
    names = tuple(f"class {i}" for i in range(k))
    base = Base(HASH, d, names, LinearLayer(draw(0, k, d), draw(1, k)))
    assert base.head is not None
    weight, bias = base.head.weight.copy(), base.head.bias.copy()
    weight[:changed] += 1
    update = Update(HASH, 1, (*names, "one more"), np.concatenate([weight, weight[:1]]), np.append(bias, bias[0]))
    # The longest note counts where there is room for it; its 500 bytes are those of a fleet with fewer classes.
    update = replace(update, note="n" * 500 if changed < 200 else "n" * 40)
    content = packed(tmp_path, update, base, key=KEY)
    assert len(content) <= 2 * (changed + 1) * (d + 1) + 2048
    found = read_update(content, base, trusted=[KEY.public])
    np.testing.assert_array_equal(found.weight[changed:k], weight[changed:])


def test_a_size_that_the_page_gives(tmp_path: Path) -> None:
    """The formula of the page: 232 bytes, 3 per changed row beyond its parameters, 2 bits per shipped class, names."""
    pytest.importorskip("cryptography")
    content = packed(tmp_path, head(("a", "b", "new"), seed=4, note="hello"), key=KEY)
    assert len(content) == 232 + 2 * 3 * (D + 1) + 3 * 3 + 2 * 1 + 5 + (4 + 3)


@pytest.mark.parametrize("runtime", ["onnx", "tflite"])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_rounding_hardly_moves_a_logit(tiny_bundle: Path, tmp_path: Path, runtime: Any, scale: float) -> None:
    """On every kind of latent that codes can stand for, of heads of any scale: 2^-11 of the spread, argmax 99.9 %."""
    with Bundle(tiny_bundle) as bundle:
        base, code, centre = Base.of(bundle, runtime), bundle.code(runtime), typical_latent(bundle, runtime)
        shown = bundle.conformance(runtime).latent
    assert base.head is not None
    rng = np.random.default_rng(0)
    latents = np.concatenate([shown, code.decode(rng.integers(0, 256, (2_000, base.width)).astype(np.uint8))])
    weight = (base.head.weight * (1 + draw(0, *base.head.weight.shape) / 10) * scale).astype(np.float32)
    update = Update(base.variant, 1, base.classes, weight, base.head.bias * np.float32(scale))
    worst = {}
    for name, point in (("plain", None), ("centred", centre)):
        found = read_update(packed(tmp_path, update, base, centre=point), base)
        exact = latents.astype(np.float64) @ update.weight.T.astype(np.float64) + update.bias
        rounded = latents.astype(np.float64) @ found.weight.T.astype(np.float64) + found.bias
        worst[name] = np.abs(exact - rounded).max() / np.ptp(exact, axis=1).mean()
        assert np.mean(exact.argmax(axis=1) == rounded.argmax(axis=1)) >= 0.999
    assert worst["centred"] < 2**-11
    assert worst["centred"] < worst["plain"]


def test_the_bias_makes_good_at_the_centre() -> None:
    """Far from the origin rounding alone would move logits by whole units; at the centre it moves them by nothing."""
    weight, bias = draw(0, 4, 64), draw(1, 4)
    centre = 1e4 + draw(2, 64)
    exact = centre.astype(np.float64) @ weight.T.astype(np.float64) + bias
    errors = []
    for point in (None, centre):
        rounded = Rounded.of(weight, bias, point)
        restored = np.ldexp(rounded.weight.astype(np.float64), rounded.exponent[:, None].astype(np.int32))
        errors.append(np.abs(centre @ restored.T + rounded.bias - exact).max())
    assert errors[0] > 1
    assert errors[1] < 1e-4


def test_scales_of_rows_are_their_own() -> None:
    """Rows 60 powers of ten apart keep their 11 bits, zeros stay zeros, and no weight overflows."""
    weight = draw(0, 4, 64) * np.array([[1e-30], [1.0], [1e30], [0.0]], np.float32)
    rounded = Rounded.of(weight, np.zeros(4, np.float32), None)
    restored = np.ldexp(rounded.weight.astype(np.float64), rounded.exponent[:, None].astype(np.int32))
    np.testing.assert_allclose(restored, weight, rtol=2**-11, atol=0)
    assert rounded.exponent[3] == 0
    top = np.array([[65_519.999], [32_767.999], [2.0**15], [np.nextafter(np.float32(2), np.float32(0))]], np.float32)
    assert np.isfinite(Rounded.of(top, np.zeros(4, np.float32), None).weight).all()


def test_a_class_without_parameters_passes(tmp_path: Path) -> None:
    """A row that can never win, zeros with a bias of -1e9, comes back exactly."""
    update = head(("a", "b"), seed=4)
    update.weight[1], update.bias[1] = 0, -1e9
    found = read_update(packed(tmp_path, update, centre=draw(0, D)), BASE)
    assert (found.weight[1] == 0).all()
    assert found.bias[1] == np.float32(-1e9)


def test_equal_updates_have_equal_bytes(tmp_path: Path) -> None:
    """Also after a way through a reader: nothing of time, machine or order of a dictionary is in them."""
    pytest.importorskip("cryptography")
    update = head(("c", "new", "a"), note="n")
    content = packed(tmp_path, update, key=KEY)
    assert packed(tmp_path, update, key=KEY) == content
    again = packed(tmp_path, read_update(content, BASE), key=KEY)
    assert np.array_equal(read_update(again, BASE).weight, read_update(content, BASE).weight)
    assert again == content


def test_another_program_can_read_it(tmp_path: Path) -> None:
    """The page's table, read with struct alone, gives header, marks, names and parameters."""
    pytest.importorskip("cryptography")
    update = head(("a", "new"), number=2**63 - 1, created=5, note="hi")
    update.weight[1], update.bias[1] = np.arange(D), 0.5
    content = packed(tmp_path, update, key=KEY)
    assert content[:8] == b"ACCU\r\n\x1a\n"
    header = struct.unpack_from("<HHIQQ32s32s4H", content, 8)
    assert header[:5] == (1, 1, D, 2**63 - 1, 5)
    assert (header[5].hex(), header[6].hex(), header[7:]) == (HASH, BASE.digest, (3, 1, 1, 2))
    assert content[104:112] == b"hi" + bytes([0b001, 0b000]) + struct.pack("<HH", 1, 3)
    assert content[112:115] == b"new"
    (exponent,) = struct.unpack_from("<b", content, 115)
    (bias,) = struct.unpack_from("<f", content, 116)
    weights = struct.unpack_from(f"<{D}e", content, 120)
    assert ([w * 2.0**exponent for w in weights], bias) == ([0, 1, 2, 3, 4], 0.5)
    end = 120 + 2 * D
    assert content[end : end + 32] == KEY.public.raw
    assert KEY.public.verify(content[end + 32 : end + 96], b"acclimate-update-1\n" + content[:end])
    assert content[end + 96 :] == hashlib.sha256(content[: end + 96]).digest()
    names = b"a\nb\nc\n\0"
    assert BASE.head is not None
    assert BASE.digest == hashlib.sha256(names + BASE.head.weight.tobytes() + BASE.head.bias.tobytes()).hexdigest()


def test_decoding_and_encoding_are_inverse(tmp_path: Path) -> None:
    """There is one way to write an update: what was read gives the same bytes again."""
    content = packed(tmp_path, head(("c", "new", "a"), note="n"))
    assert encode(decode(unseal(content).content)) == content


def wrong_content() -> list[tuple[str, dict[str, Any], str]]:
    """Return what cannot be written."""
    return [
        ("number 0", {"number": 0}, "number from 1 to"),
        ("number too large", {"number": 2**63}, "number from 1 to"),
        ("number is a flag", {"number": True}, "number from 1 to"),
        ("created before 1970", {"created": -1}, "time of creation from 0"),
        ("a float for a time", {"created": 1.5}, "time of creation from 0"),
        ("a long note", {"note": "ü" * 251}, "note of so many bytes"),
        ("a note of two lines", {"note": "a\nb"}, "printable note"),
        ("a lone surrogate", {"note": "\ud800"}, "printable note"),
        ("an empty name", {"classes": ("a", "")}, "printable class name"),
        ("a name with an escape code", {"classes": ("a", "\x1b[31m")}, "printable class name"),
        ("a long name", {"classes": ("a", "x" * 201)}, "at most 200 characters"),
        ("fewer names", {"classes": ("a",)}, r"parameters as \(1, 5\) float32, found \(2, 5\)"),
        ("no class", {"classes": (), "weight": np.ones((0, D), "f4"), "bias": np.ones(0, "f4")}, "1 to 10,000 rows"),
        ("float64", {"weight": np.ones((2, D))}, "float64"),
        ("NaN", {"weight": np.full((2, D), np.nan, "f4")}, "finite parameters"),
        ("infinite bias", {"bias": np.full(2, np.inf, "f4")}, "finite parameters"),
        ("huge", {"weight": np.full((2, D), 3e38, "f4")}, "finite parameters below 4e\\+34"),
    ]


@pytest.mark.parametrize(("changes", "message"), [w[1:] for w in wrong_content()], ids=[w[0] for w in wrong_content()])
def test_what_could_not_be_read_is_not_written(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """It is refused with the reason, and no file is left."""
    with pytest.raises(InputError, match=message):
        write_update(tmp_path / "u.accu", replace(head(("a", "new")), **changes), BASE)
    assert os.listdir(tmp_path) == []


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    """An existing file stays."""
    (tmp_path / "u.accu").write_text("precious")
    with pytest.raises(OutputExistsError, match="is there already"):
        write_update(tmp_path / "u.accu", head(("a", "new")), BASE)
    assert (tmp_path / "u.accu").read_text() == "precious"
