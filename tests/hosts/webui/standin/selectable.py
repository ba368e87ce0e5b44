"""Scripts of the hosts' own that are selected below the settings, as far as they make generations.

Each makes several of one processing object or of shallow copies of it, as the real ones do, and puts together
what comes back in the same way: the plot keeps the first result and its dict, loop and tiles make a new one.
"""

import copy
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.hosts.webui.standin.processing import Processed, Processing, create_infotext, process_images
from tests.hosts.webui.standin.script_api import Script


class Selectable(Script):
    """Runs in the place of ``process_images``."""

    state: Any

    def show(self, is_img2img: bool) -> bool:
        return True


class XYZGrid(Selectable):
    """Two axes of functions that are applied to a cell; ``second_first`` makes the columns one by one."""

    def title(self) -> str:
        return "X/Y/Z plot"

    def run(
        self,
        p: Processing,
        xs: list[Callable[[Processing], None]],
        ys: list[Callable[[Processing], None]],
        second_first: bool = False,
    ) -> Processed:
        cells = [(ix, iy) for ix in range(len(xs)) for iy in range(len(ys))]
        cells.sort(key=lambda cell: cell if second_first else cell[::-1])
        result: Processed | None = None
        infotext = None
        for ix, iy in cells:
            index = ix + iy * len(xs)
            self.state.job = f"{index + 1} out of {len(cells)}"
            pc = copy.copy(p)
            pc.latents = []
            xs[ix](pc)
            ys[iy](pc)
            try:
                processed = process_images(pc)
            except Exception:
                processed = Processed(p, [])
            if infotext is None and not ix and not iy:
                pc.extra_generation_params = copy.copy(pc.extra_generation_params)
                pc.extra_generation_params["Script"] = self.title()
                infotext = create_infotext(pc)
            if result is None:
                result = copy.copy(processed)
                result.images = [Image.new("P", (8, 8))] * len(cells)
                result.infotexts = [""] * len(cells)
            if processed.images:
                result.images[index] = processed.images[0]
                result.infotexts[index] = processed.infotexts[0]
        assert result is not None
        result.images.insert(0, _grid(result.images, len(xs)))
        result.infotexts.insert(0, infotext or "")
        result.index_of_first_image = 1
        return result


class Loopback(Selectable):
    """One processing object again and again, each time with the next seed."""

    def title(self) -> str:
        return "Loopback"

    def run(self, p: Processing, loops: int) -> Processed:
        p.n_iter = p.batch_size = 1
        p.do_not_save_grid = True
        history: list[Image.Image] = []
        info = None
        for number in range(loops):
            self.state.job = f"Iteration {number + 1}/{loops}, batch 1/1"
            processed = process_images(p)
            info = info or processed.info
            p.seed = processed.seed + 1
            history.append(processed.images[0])
        return Processed(p, [_grid(history, loops), *history], info or "")


class SDUpscale(Selectable):
    """Batches of tiles of one picture, put together by their number."""

    def title(self) -> str:
        return "SD upscale"

    def run(self, p: Processing, tiles: int) -> Processed:
        p.n_iter, p.do_not_save_grid = 1, True
        work: list[Image.Image] = []
        batches = -(-tiles // p.batch_size)
        info = None
        for number in range(batches):
            self.state.job = f"Batch {number + 1} out of {batches}"
            processed = process_images(p)
            info = info or processed.info
            p.seed = processed.seed + 1
            work += processed.images
        return Processed(p, [_grid(work[:tiles], tiles)], info or "")


class PromptMatrix(Selectable):
    """All pictures in one generation, with a grid put before them."""

    def title(self) -> str:
        return "Prompt matrix"

    def run(self, p: Processing, prompts: int) -> Processed:
        p.n_iter, p.do_not_save_grid = -(-prompts // p.batch_size), True
        processed = process_images(p)
        processed.images.insert(0, _grid(processed.images, p.batch_size))
        processed.infotexts.insert(0, processed.infotexts[0])
        processed.index_of_first_image = 1
        return processed


KINDS = (XYZGrid, Loopback, SDUpscale, PromptMatrix)


def _grid(pictures: list[Image.Image], columns: int) -> Image.Image:
    width, height = pictures[0].size
    grid = Image.new("RGB", (columns * width, -(-len(pictures) // columns) * height))
    for number, picture in enumerate(pictures):
        grid.paste(picture, (number % columns * width, number // columns * height))
    return grid
