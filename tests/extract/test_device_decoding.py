"""`--decode device`: pixels, what goes by the workers, damaged files, and that stores keep to it.

On the CPU libjpeg-turbo decodes by the same call; what only a CUDA device does is replaced, or needs one.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.io
from PIL import Image
from sklearn.datasets import load_sample_image

from cache import Store
from configs import UserError
from extract import device_decoding
from extract.command import extract
from extract.device_decoding import DeviceDecoder, jpeg_file, require_decoder
from extract.image_loader import load_images
from extract.image_views import plain_view
from extract.images import open_image
from extract.options import ExtractOptions
from extract.repair_command import RepairOptions, repair
from extract.sources import open_dataset
from extract.transform import TorchResize, image_transform, torch_resize

CPU = torch.device("cpu")
RESIZED: dict[str, Any] = {
    "input_size": [3, 96, 96],
    "interpolation": "bicubic",
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "crop_pct": 0.9,
    "crop_mode": "center",
    "resize": "torch",
}
DECODED = RESIZED | {"decode": "device"}
pytestmark = pytest.mark.filterwarnings("ignore:The image decoding:DeprecationWarning")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))  # 640 × 427


def _jpeg(image: Image.Image, **settings: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", **{"quality": 95, **settings})
    return stream.getvalue()


def _resize() -> TorchResize:
    return torch_resize(DECODED)


def _decoded(*files: bytes, device: torch.device = CPU) -> tuple[np.ndarray, dict[int, Exception]]:
    taken = {row: bytearray(file) for row, file in enumerate(files)}
    images, errors = DeviceDecoder(_resize(), device).batch(taken, len(files), DECODED["input_size"])
    assert images.device.type == device.type
    assert images.dtype == torch.uint8
    return images.cpu().numpy(), errors


def _by_pillow(file: bytes) -> np.ndarray:
    return image_transform(RESIZED)(open_image(file).convert("RGB"))


@pytest.mark.parametrize(
    "settings", [{}, {"subsampling": 0}, {"subsampling": 1}, {"restart_marker_rows": 1}], ids=str
)
def test_pixels_are_those_of_pillow_and_torch(photograph: Image.Image, settings: dict[str, Any]) -> None:
    grey, odd = photograph.convert("L"), photograph.crop((0, 0, 333, 211))
    files = [_jpeg(image, **settings) for image in (photograph, grey, odd, photograph.resize((50, 70)))]
    found, errors = _decoded(*files)
    assert not errors
    assert np.array_equal(found, np.stack([_by_pillow(file) for file in files]))


def test_many_files_are_decoded_in_several_calls(
    photograph: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [_jpeg(photograph.rotate(angle)) for angle in range(5)]
    calls: list[int] = []
    whole = torchvision.io.decode_jpeg

    def counted(coded: Sequence[torch.Tensor], *arguments: Any) -> Any:
        calls.append(len(coded))
        return whole(coded, *arguments)

    monkeypatch.setattr(torchvision.io, "decode_jpeg", counted)
    monkeypatch.setattr(device_decoding, "CALL_BYTES", 2 * max(map(len, files)))
    found, _ = _decoded(*files)
    assert calls == [2, 2, 1]
    assert np.array_equal(found, np.stack([_by_pillow(file) for file in files]))


def test_plain_jpegs_are_handed_over_as_they_are(photograph: Image.Image) -> None:
    for image in (photograph, photograph.convert("L")):
        file = _jpeg(image)
        assert jpeg_file(open_image(file)) == file


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _without_adobe(file: bytes) -> bytes:
    """The segment goes that says which colours they are: libjpeg then goes by the components' names."""
    start = file.index(b"\xff\xee\x00\x0eAdobe")
    return file[:start] + file[start + 16 :]


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(lambda image: _jpeg(image.convert("CMYK")), id="CMYK"),
        pytest.param(lambda image: _jpeg(image, exif=_turned()), id="turned"),
        pytest.param(lambda image: _jpeg(image, progressive=True), id="progressive"),
        pytest.param(lambda image: _jpeg(image, keep_rgb=True), id="RGB"),
        pytest.param(lambda image: _without_adobe(_jpeg(image, keep_rgb=True)), id="RGB by its components"),
        pytest.param(lambda image: _jpeg(image)[:-2], id="cut short"),
        pytest.param(lambda image: _jpeg(image) + b"more", id="longer"),
    ],
)
def test_other_jpegs_are_decoded_by_the_workers(
    file: Callable[[Image.Image], bytes], photograph: Image.Image
) -> None:
    assert jpeg_file(open_image(file(photograph))) is None


def test_other_formats_and_images_without_a_file_are_decoded_by_the_workers(photograph: Image.Image) -> None:
    stream = io.BytesIO()
    photograph.save(stream, "PNG")
    assert jpeg_file(open_image(stream.getvalue())) is None
    assert jpeg_file(photograph) is None


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_every_kind_come_in_order_with_the_pixels_of_torch(
    workers: int, mixed_images: Path
) -> None:
    source = open_dataset(f"folder:{mixed_images}").open("train")
    order = np.arange(len(source))[::-1].copy()
    places = [list(range(first, min(first + 3, len(order)))) for first in range(0, len(order), 3)]

    def read(settings: dict[str, Any]) -> list[tuple[tuple[int, ...], np.ndarray]]:
        views = plain_view(settings)
        loaded = load_images(source, order, places, views, workers=workers, device=CPU)
        return [(batch.records, batch.images.numpy()) for batch in loaded]

    for (records, found), (same, expected) in zip(read(DECODED), read(RESIZED), strict=True):
        assert records == same
        assert np.array_equal(found, expected)


@pytest.fixture
def folder(tmp_path: Path, photograph: Image.Image) -> Path:
    """Five photographs; the third is `damaged.jpg`, which ends too early but has the mark of the end."""
    place = tmp_path / "photographs" / "one"
    place.mkdir(parents=True)
    for number, name in enumerate(["a.jpg", "b.jpg", "damaged.jpg", "e.jpg", "f.jpg"]):
        (place / name).write_bytes(_jpeg(photograph.rotate(number)))
    return place.parent


def _damage(folder: Path) -> None:
    """Pillow opens it and fails to decode it, as does torchvision: its Huffman tables are gone."""
    path = folder / "one" / "damaged.jpg"
    content = path.read_bytes()
    first = content.index(b"\xff\xc4")
    path.write_bytes(content[: first + 4] + b"\xff" * 40 + content[first + 44 :])


def _extract(store: Path, folder: Path, **changes: object) -> None:
    settings = {"backbone": "mae_digits", "dataset": f"folder:{folder}", "workers": 0, "batch_size": 3}
    extract(ExtractOptions(**{**settings, "decode": "device", "device": "cpu", "out": store, **changes}))


def _patches(store: Path) -> bytes:
    (records,) = (path for path in store.rglob("patches/c/*/0/0/0") if path.is_file())
    return records.read_bytes()


def test_on_the_cpu_a_store_holds_the_tokens_of_resize_torch_and_says_how_it_was_decoded(
    folder: Path, tmp_path: Path
) -> None:
    _extract(tmp_path / "device", folder, workers=2)
    _extract(tmp_path / "torch", folder, decode="workers", resize="torch")
    assert _patches(tmp_path / "device") == _patches(tmp_path / "torch")
    transform = Store(tmp_path / "device").manifest.backbone.transform
    assert (transform["decode"], transform["resize"]) == ("device", "torch")
    assert "decode" not in Store(tmp_path / "torch").manifest.backbone.transform


def test_another_decoder_is_refused_and_resize_torch_beside_it_is_the_same(
    folder: Path, tmp_path: Path
) -> None:
    _extract(tmp_path / "store", folder)
    _extract(tmp_path / "store", folder, resize="torch")
    with pytest.raises(UserError, match=r"backbone\.transform\.decode \(device there, None here\)"):
        _extract(tmp_path / "store", folder, decode="workers", resize="torch")


def test_a_store_goes_on_and_is_repaired_with_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    _extract(store, folder, shard_size=2)
    shards = {path: path.read_bytes() for path in store.rglob("patches/c/0/*/0/0")}
    assert len(shards) == 3
    first, second, _ = sorted(shards)
    (done,) = store.rglob("shards/00000.json")
    done.unlink()
    first.unlink()
    _extract(store, folder, shard_size=2)
    assert first.read_bytes() == shards[first]
    second.write_bytes(bytes(64) + shards[second][64:])
    repair(
        RepairOptions(path=store, backbone="mae_digits", dataset=f"folder:{folder}", workers=0, device="cpu")
    )
    assert {path: path.read_bytes() for path in shards} == shards


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_file_stops_the_run_or_is_left_out(workers: int, folder: Path, tmp_path: Path) -> None:
    _damage(folder)
    with pytest.raises(UserError, match=r"cannot read .*damaged\.jpg: .*: mend or remove it"):
        _extract(tmp_path / "stopped", folder, workers=workers)
    said = []
    for name, decode in (("device", "device"), ("torch", "workers")):
        _extract(tmp_path / name, folder, workers=workers, decode=decode, resize="torch", on_error="skip")
        (split,) = Store(tmp_path / name).splits().values()
        reader = Store(tmp_path / name).split("photographs", split[0])
        labels = reader.whole("labels")
        samples = reader.whole("sample_id")
        assert samples[labels == -1].tolist() == [2]
        said.append([path.read_text() for path in (tmp_path / name).rglob("shards/*.json")])
    assert "damaged.jpg" in said[0][0]
    assert _patches(tmp_path / "device") == _patches(tmp_path / "torch")


def test_what_failed_is_told_in_the_words_of_pillow(folder: Path) -> None:
    _damage(folder)
    source = open_dataset(f"folder:{folder}").open("train")
    order = np.arange(5)

    def failures(settings: dict[str, Any]) -> list[dict[int, str]]:
        loaded = load_images(source, order, [order], plain_view(settings), workers=0, device=CPU)
        return [batch.failures for batch in loaded]

    assert list(failures(DECODED)[0]) == [2]
    assert failures(DECODED) == failures(RESIZED)


def test_a_file_that_is_cut_short_is_refused_as_pillow_refuses_it(folder: Path, tmp_path: Path) -> None:
    path = folder / "one" / "b.jpg"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UserError, match=r"cannot read .*b\.jpg: image file is truncated"):
        _extract(tmp_path / "store", folder)


class _Decoder:
    """torchvision's, which fails where several files are decoded at once, and at `unknown` ones."""

    def __init__(self, unknown: bytes = b"") -> None:
        self.whole, self.unknown, self.calls = torchvision.io.decode_jpeg, unknown, 0

    def __call__(self, coded: Sequence[torch.Tensor], *arguments: Any) -> Any:
        self.calls += 1
        if len(coded) > 1 or coded[0].numpy().tobytes() == self.unknown:
            raise RuntimeError("Failed to decode batch: 2")
        return self.whole(coded, *arguments)


def test_where_a_call_fails_its_files_are_decoded_one_by_one_and_by_pillow(
    photograph: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [_jpeg(photograph.rotate(angle)) for angle in range(3)]
    decoder = _Decoder(unknown=files[1])
    monkeypatch.setattr(torchvision.io, "decode_jpeg", decoder)
    found, errors = _decoded(files[0], files[1], b"no image", files[2])
    assert decoder.calls == 5
    assert np.array_equal(found[[0, 1, 3]], np.stack([_by_pillow(file) for file in files]))
    assert not found[2].any()
    assert list(errors) == [2]


class _Stream:
    """A stream of a device that is not there."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def wait_stream(self, stream: object) -> None:
        self.log.append("the forward pass waits for the images")

    def synchronize(self) -> None:
        self.log.append("the images before are resized")


def test_a_device_without_memory_is_named_and_pillow_does_not_step_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_dataset(f"folder:{folder}").open("train")

    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    batches = load_images(source, np.arange(3), [range(3)], plain_view(DECODED), workers=0, device=CPU)
    monkeypatch.setattr(torchvision.io, "decode_jpeg", full)
    with pytest.raises(UserError, match="cpu has no memory to decode 3 images: give a smaller --batch-size"):
        next(batches)


def test_on_cuda_memory_is_not_decoded_into_before_it_is_free(
    photograph: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    whole = torchvision.io.decode_jpeg

    def logged(*arguments: Any) -> Any:
        log.append("decoded")
        return whole(*arguments)

    decoder = DeviceDecoder(_resize(), CPU)
    monkeypatch.setattr(decoder, "_stream", _Stream(log))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: _Stream(log))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: log.append("kept"))
    monkeypatch.setattr(torchvision.io, "decode_jpeg", logged)
    decoder.batch({0: bytearray(_jpeg(photograph))}, 1, (3, 96, 96))
    assert log == [
        "the images before are resized",
        "decoded",
        "the forward pass waits for the images",
        "kept",
    ]


def _not_compiled(*_: object) -> None:
    raise RuntimeError(
        "decode_jpegs_cuda, /w/csrc/decode_jpegs_cuda.cpp:21, decode_jpegs_cuda: torchvision not compiled "
        "with nvJPEG support\nException raised from …"
    )


def test_a_torchvision_that_cannot_decode_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.io, "decode_jpeg", _not_compiled)
    with pytest.raises(UserError) as said:
        _extract(tmp_path / "store", folder)
    assert "(decode_jpegs_cuda: torchvision not compiled with nvJPEG support): install one" in str(said.value)
    assert "\n" not in str(said.value)
    assert not (tmp_path / "store").exists()


def test_a_torchvision_without_a_decoder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torchvision.io, "decode_jpeg")
    with pytest.raises(UserError, match="does not decode JPEGs on cpu"):
        require_decoder(CPU)


def test_other_devices_are_refused() -> None:
    with pytest.raises(UserError, match="--decode device is for CUDA devices, this is meta"):
        require_decoder(torch.device("meta"))


def test_a_transform_that_torch_does_not_have_is_refused_by_the_options_name() -> None:
    with pytest.raises(UserError, match="--decode device has bicubic and bilinear resizing only"):
        torch_resize(DECODED | {"interpolation": "lanczos"})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"decode_scale": 2}, "--decode device decodes at full size: leave --decode-scale out"),
        ({"views": 2, "augment": "rrc_flip"}, "are for one view: leave --views out"),
        ({"plan": True}, "--plan measures extraction without --decode"),
    ],
)
def test_what_it_does_not_go_with_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=why):
        ExtractOptions(backbone="mae_digits", dataset="digits", decode="device", **change)


@needs_cuda
def test_nvjpeg_is_near_pillow(photograph: Image.Image) -> None:
    """Bounds are a guess: chroma at half the size may be enlarged in another way, at full size it is not."""
    device = torch.device("cuda")
    for subsampling, most, mean in ((0, 4, 0.5), (2, 64, 2.0)):
        files = [_jpeg(photograph.rotate(angle), subsampling=subsampling) for angle in range(3)]
        found, errors = _decoded(*files, device=device)
        difference = np.abs(found.astype(int) - np.stack([_by_pillow(file) for file in files]))
        assert not errors
        assert difference.max() <= most
        assert difference.mean() <= mean


@needs_cuda
def test_on_cuda_a_damaged_file_spoils_no_other(photograph: Image.Image) -> None:
    files = [_jpeg(photograph.rotate(angle)) for angle in range(3)]
    alone, _ = _decoded(files[0], files[2], device=torch.device("cuda"))
    found, errors = _decoded(files[0], b"no image", files[2], device=torch.device("cuda"))
    assert list(errors) == [1]
    assert np.array_equal(found[[0, 2]], alone)


@needs_cuda
def test_on_cuda_the_forward_passes_of_other_batches_are_not_disturbed(photograph: Image.Image) -> None:
    """Each batch is read late, behind a long computation, while the next ones are decoded."""
    device = torch.device("cuda")
    decoder = DeviceDecoder(_resize(), device)
    files = {row: bytearray(_jpeg(photograph.rotate(row))) for row in range(32)}
    expected, _ = decoder.batch(files, 32, (3, 96, 96))
    square = torch.randn(4096, 4096, device=device)
    sums = []
    for _ in range(8):
        images, _ = decoder.batch(files, 32, (3, 96, 96))
        for _ in range(8):
            square = (square @ square).clamp_(-1, 1)
        sums.append(images.long().sum(dim=(1, 2, 3)))
        del images
    assert all(torch.equal(found, expected.long().sum(dim=(1, 2, 3))) for found in sums)
