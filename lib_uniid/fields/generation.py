"""The settings of a generation by the stand-alone host."""

from lib_uniid.fields.rows import Row, table
from lib_uniid.fields.shared import SHARED

MAX_PICTURES = 16
MAX_SIDE = 2048

SAMPLERS = (
    "ddim",
    "dpmpp_2m",
    "dpmpp_2m_karras",
    "dpmpp_sde",
    "euler",
    "euler_a",
    "heun",
    "lms",
    "pndm",
    "unipc",
)
"""Short names; the class name of any diffusers scheduler is accepted too."""

GENERATION = table(
    *SHARED.values(),
    Row(
        name="retries",
        kind="whole",
        default=0,
        high=20,
        label="Retries",
        meaning="number of further seeds to try if a person is missing",
        of_people=True,
    ),
    Row(name="steps", kind="whole", default=25, low=1, high=150, label="Steps", meaning="sampling steps"),
    Row(
        name="pictures",
        kind="whole",
        default=1,
        low=1,
        high=MAX_PICTURES,
        label="Pictures",
        meaning="number of pictures; each has the next seed",
    ),
    Row(
        name="cfg_scale",
        kind="number",
        default=7.5,
        low=1.0,
        high=30.0,
        step=0.5,
        label="CFG scale",
        meaning="how strictly the prompt is followed",
    ),
    Row(
        name="sampler",
        kind="text",
        default=SAMPLERS[0],
        choices=SAMPLERS,
        label="Sampler",
        meaning=f"{', '.join(SAMPLERS)}, or a scheduler of diffusers",
    ),
    Row(
        name="strength",
        kind="number",
        default=0.6,
        low=0.01,
        high=1.0,
        label="Strength",
        meaning="how much of the start picture is changed",
    ),
)
