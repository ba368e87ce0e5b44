"""The measures on drawings: how far they can be trusted, and what a perfect generation would reach."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lib_uniid.evaluation.metrics import cosine
from miniature.evaluation import SEED
from miniature.evaluation.guests import Guest
from miniature.evaluation.metrics import verification_accuracy
from miniature.evaluation.reader import Reader
from miniature.recipes.meter import LOOKS
from miniature.world import as_pictures, draw, portraits, sample_scenes


class Drawings:
    """Figures of drawings of the guests; ``host`` has the VAE, and ``side`` is that of the drawings."""

    def __init__(self, guests: Sequence[Guest], reader: Reader, host: Any, side: int) -> None:
        self.guests, self.reader, self.host, self.side = guests, reader, host, side

    def verification(self) -> float:
        """Accuracy of the judge on same and different pairs of drawings, through detector and alignment."""
        gallery = np.stack([guest.person.embedding for guest in self.guests])
        scores = cosine(np.stack([guest.other for guest in self.guests]), gallery)
        different = scores[np.arange(len(scores)), np.roll(np.arange(len(scores)), 1)]
        same = np.repeat([True, False], len(scores))
        return verification_accuracy(np.concatenate([scores.diagonal(), different]), same)

    def real_pair(self) -> float:
        """Mean similarity of two drawn pictures of a person: likeness above it is copying."""
        references = np.stack([guest.person.embedding for guest in self.guests])
        return float(cosine(np.stack([guest.other for guest in self.guests]), references).diagonal().mean())

    def upper_bound(self, people: int) -> float:
        """Mean similarity of drawn people to their references, after encoding and decoding the drawing."""
        generator = torch.Generator().manual_seed(SEED + 2)
        count = len(self.guests) // 2 // people
        who = torch.stack([guest.traits for guest in self.guests[: count * people]])
        plain = torch.zeros(count, dtype=torch.long)
        scene = sample_scenes(count, people, generator, who=who, style=plain, size=self.side)
        drawn = as_pictures(draw(scene, generator))
        scores: list[float] = []
        for index, picture in enumerate(drawn):
            found = self.reader.embeddings(self._through_vae(picture), people)
            if len(found) == people:  # drawn left to right in this order
                mine = self.guests[index * people : (index + 1) * people]
                scores += [
                    cosine(f[None], g.person.embedding[None]).item() for f, g in zip(found, mine, strict=True)
                ]
        return float(np.mean(scores))

    def meter_quality(self, *, through_vae: bool) -> dict[str, float]:
        """How far the meters can be trusted, on drawings of all looks and styles, found and aligned as usual.

        Share of right classes of place, style and hair, of shirts in photos; R2 of smile, age and glasses.
        """
        generator = torch.Generator().manual_seed(SEED + 3)
        who = torch.stack([guest.traits for guest in self.guests])
        drawn, scene = portraits(who, generator)
        pictures = as_pictures(drawn)
        if through_vae:
            pictures = [self._through_vae(picture) for picture in pictures]
        read = [self.reader.read(picture) for picture in pictures]
        faces = [(index, one.face) for index, one in enumerate(read) if one.face is not None]
        looks = scene.looks[torch.tensor([index for index, _ in faces])]
        quality = {
            "place": float(
                np.mean([one.place == place for one, place in zip(read, scene.place, strict=True)])
            ),
            "style": float(
                np.mean([one.style == style for one, style in zip(read, scene.style, strict=True)])
            ),
            "hair": float(np.mean([f.hair == hair for (_, f), hair in zip(faces, looks.hair, strict=True)])),
        }
        photos = [
            one.shirt == shirt
            for one, shirt, style in zip(read, scene.looks.shirt, scene.style, strict=True)
            if one.face is not None and style == 0
        ]
        quality["shirt"] = float(np.mean(photos))
        for name in LOOKS:
            truth = getattr(looks, name).numpy()
            error = np.array([getattr(face, name) for _, face in faces]) - truth
            quality[name] = float(1 - np.square(error).mean() / truth.var())
        return quality

    @torch.no_grad()
    def _through_vae(self, picture: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        latents = self.host.vae.encode(pixels).latent_dist.mode() * self.host.vae.config.scaling_factor
        return self.host.decode(latents)[0]
