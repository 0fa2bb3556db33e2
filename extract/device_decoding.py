"""`--decode device`: data workers read JPEG files, the backbone's device decodes and resizes them.

On a CUDA device torchvision decodes by nvJPEG, on the CPU by libjpeg-turbo: the latter lets the tests run
all of this, and is useful for nothing else.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image

from cache import is_out_of_memory
from configs import UserError
from extract.batch_reader import BatchReader, Place
from extract.images import open_image, orientation, to_rgb
from extract.sources import ImageSource
from extract.transform import DECODE, TorchResize, image_transform

CALL_BYTES = 32 * 2**20
"""Of files that are decoded in one call: on the device their pixels are about ten times as many bytes."""

_END_OF_IMAGE = b"\xff\xd9"
_RGB_COMPONENTS = list(b"RGB")

Taken = bytearray | np.ndarray
"""A JPEG file; or (3, H, W) uint8, what the worker has decoded and resized."""


def require_decoding(settings: Mapping[str, Any], device: torch.device) -> None:
    """Raise `UserError` where images cannot be resized, or decoded on `device`, as `settings` say."""
    image_transform(dict(settings))
    if DECODE in settings:
        require_decoder(device)


def require_decoder(device: torch.device) -> None:
    """Raise `UserError` where torchvision cannot decode JPEGs on `device`."""
    if device.type not in ("cuda", "cpu"):
        raise UserError(f"--decode device is for CUDA devices, this is {device}: leave it out")
    stream = io.BytesIO()
    Image.new("RGB", (16, 16)).save(stream, "JPEG")
    try:
        decode_jpegs([bytearray(stream.getvalue())], device)
    except (ImportError, AttributeError, RuntimeError) as error:
        reason = re.sub(r"^\w+, \S+:\d+, ", "", str(error).partition("\n")[0])  # without its line of C++
        raise UserError(
            f"--decode device: torchvision {torchvision.__version__} does not decode JPEGs on {device} "
            f"({reason}): install one that has nvJPEG, as its builds for CUDA have, or leave the option out"
        ) from None


def jpeg_file(image: Image.Image) -> bytearray | None:
    """The file of an opened `image` if the device decodes it as Pillow would; else None.

    Not of: other formats and CMYK; images to be turned upright; progressive files, which nvJPEG decodes one
    by one, partly on the CPU; RGB components, which it takes for YCbCr; and files that do not end where the
    image does. Pillow says whether those are cut short; nvJPEG may leave grey what is missing.
    """
    file, info = getattr(image, "fp", None), image.info
    unusual = "progressive" in info or info.get("adobe_transform", 1) != 1
    if image.format != "JPEG" or image.mode not in ("RGB", "L") or file is None or unusual:
        return None
    components = [layer[0] for layer in getattr(image, "layer", ())]
    if components == _RGB_COMPONENTS or orientation(image) != 1:
        return None
    file.seek(0)
    content = bytearray(file.read())
    return content if content.endswith(_END_OF_IMAGE) else None


class DeviceReader(BatchReader[tuple[dict[int, Taken], dict[int, str]]]):
    """Workers hand over files, or pixels where the device does not decode them; one view.

    The answer: row → what was taken, and row → what failed. Raises `UserError` where `device` decodes none.
    """

    def __init__(
        self,
        source: ImageSource,
        sample_id: np.ndarray,
        resize: TorchResize,
        input_size: Sequence[int],
        device: torch.device,
    ) -> None:
        super().__init__(source, sample_id)
        require_decoder(device)
        self.resize, self.input_size, self.device = resize, tuple(input_size), device

    def read(
        self, place: Place, records: Sequence[int], reading: torch.Tensor
    ) -> tuple[dict[int, Taken], dict[int, str]]:
        taken: dict[int, Taken] = {}

        def take(row: int, sample: int) -> None:
            with self.source.load(sample) as image:
                file = jpeg_file(image)
                taken[row] = self.resize(to_rgb(image)) if file is None else file

        return taken, self.each(records, reading, take)

    def images(
        self, place: Place, records: Sequence[int], answer: tuple[dict[int, Taken], dict[int, str]]
    ) -> tuple[torch.Tensor, dict[int, str]]:
        """On the device."""
        taken, failures = answer
        try:
            images, errors = self._decoder.batch(taken, len(records), self.input_size)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"{self.device} has no memory to decode {len(records)} images: give a smaller --batch-size "
                "and another --out, since a store keeps to one"
            ) from None
        late = {row: self.failure(int(self.sample_id[records[row]]), errors[row]) for row in errors}
        return images[None], dict(sorted((failures | late).items()))

    @cached_property
    def _decoder(self) -> DeviceDecoder:
        return DeviceDecoder(self.resize, self.device)  # has a CUDA stream, which no worker gets


class DeviceDecoder:
    """Files → (B, 3, H, W) uint8 on `device`, on a stream of its own beside the forward pass."""

    def __init__(self, resize: TorchResize, device: torch.device) -> None:
        self._resize, self._device = resize, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def batch(
        self, taken: Mapping[int, Taken], rows: int, input_size: Sequence[int]
    ) -> tuple[torch.Tensor, dict[int, Exception]]:
        """(rows, *input_size), zeros where nothing was taken or can be decoded; row → what Pillow says."""
        if self._stream is None:
            return self._batch(taken, rows, input_size)
        with torch.cuda.stream(self._stream):
            images, errors = self._batch(taken, rows, input_size)
        forward = torch.cuda.current_stream(self._device)
        forward.wait_stream(self._stream)
        images.record_stream(forward)  # or its memory is used again before the forward pass has read it
        return images, errors

    def _batch(
        self, taken: Mapping[int, Taken], rows: int, input_size: Sequence[int]
    ) -> tuple[torch.Tensor, dict[int, Exception]]:
        images = torch.zeros(rows, *input_size, dtype=torch.uint8, device=self._device)
        errors: dict[int, Exception] = {}
        files: dict[int, bytearray] = {}
        for row, found in taken.items():
            if isinstance(found, bytearray):
                files[row] = found
            else:
                images[row].copy_(torch.from_numpy(found))
        for call in _calls(files):
            for row, image in self._resized(call).items():
                if isinstance(image, Exception):
                    errors[row] = image
                else:
                    images[row].copy_(image)
        return images, errors

    def _resized(self, files: Mapping[int, bytearray]) -> dict[int, torch.Tensor | Exception]:
        """All in one call; one by one where that fails, since one damaged file spoils it."""
        try:
            return dict(zip(files, self._decode(list(files.values())), strict=True))
        except RuntimeError:  # also where there is no memory for all at once
            return {row: self._alone(file) for row, file in files.items()}

    def _alone(self, file: bytearray) -> torch.Tensor | Exception:
        """By the device, or else by Pillow, which knows more JPEGs; what it says of a damaged one is kept."""
        try:
            return self._decode([file])[0]
        except RuntimeError as error:
            if is_out_of_memory(error):  # pixels do not depend on how much there is
                raise
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.from_numpy(self._resize(to_rgb(open_image(bytes(file)))))
        except Exception as error:  # Pillow's plugins raise anything on damaged files
            return error

    def _decode(self, files: Sequence[bytearray]) -> list[torch.Tensor]:
        """(3, H, W) each, resized."""
        if self._stream is not None:
            # torchvision's decoder gets memory of this stream and writes there at once, without waiting for
            # what still reads it (pytorch/vision#9606): the resizing of the images before, and nothing else
            self._stream.synchronize()
        return [self._resize.of_pixels(pixels) for pixels in decode_jpegs(files, self._device)]


def _calls(files: Mapping[int, bytearray]) -> Iterator[dict[int, bytearray]]:
    """`files` in parts of `CALL_BYTES` at most, or one file."""
    call: dict[int, bytearray] = {}
    size = 0
    for row, file in files.items():
        if call and size + len(file) > CALL_BYTES:
            yield call
            call, size = {}, 0
        call[row] = file
        size += len(file)
    if call:
        yield call


def decode_jpegs(files: Sequence[bytearray], device: torch.device) -> list[torch.Tensor]:
    """(3, H, W) uint8 on `device`, of each file's own size. Raises RuntimeError for a damaged one."""
    from torchvision.io import ImageReadMode, decode_jpeg  # to be removed from torchvision after 0.29

    coded = [torch.frombuffer(file, dtype=torch.uint8) for file in files]
    found: list[torch.Tensor] = decode_jpeg(coded, ImageReadMode.RGB, device)
    return found
