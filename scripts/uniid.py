"""The script that AUTOMATIC1111 and Forge execute; its functions are in lib_uniid."""

import logging

from modules import scripts

from lib_uniid.api.infotext import KEY
from lib_uniid.hosts.webui import axes
from lib_uniid.hosts.webui.script import Extension
from lib_uniid.hosts.webui.services import WebUI
from lib_uniid.runtime import Runtime
from lib_uniid.ui.controller import PanelController
from lib_uniid.ui.form_request import request_of
from lib_uniid.ui.panel import build

# At "Reload UI" the host executes this file again and unloads the previous script.
host = WebUI()
runtime = Runtime(
    host.models_folder(),
    device=host.device,
    room=host.room,
    free=host.free,
    notify=logging.getLogger("uniid").info,
)
controller = PanelController(runtime, host.checkpoint)
extension = Extension(host, runtime, lambda values, api: request_of(values, controller.uploads, api=api))


class UniID(scripts.Script):
    """The host creates one per tab, before it builds the controls of any script, including the X/Y/Z plot."""

    def __init__(self):
        super().__init__()
        axes.register(scripts.scripts_data, controller.names)

    def title(self):
        return "UniID"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        """The panel's components, in the order of the script's arguments (first two are request and switch).

        The host calls this three times per tab, and reads the defaults from the components.
        """
        panel = build(controller, self.elem_id)
        self.infotext_fields = panel.infotext_fields(KEY, controller.name_of)
        self.paste_field_names = [KEY]
        return panel.arguments

    def before_process(self, p, *args):
        extension.before_process(p, *args)

    def process(self, p, *args):
        extension.process(p)

    def process_before_every_sampling(self, p, *args, **kwargs):
        extension.process_before_every_sampling(p, kwargs["x"])

    def post_sample(self, p, ps, *args):
        extension.post_sample(p, ps)

    def postprocess_batch(self, p, *args, images, **kwargs):
        extension.postprocess_batch(p, images)

    def postprocess_batch_list(self, p, pp, *args, **kwargs):
        extension.postprocess_batch_list(p, pp)

    def postprocess_image(self, p, pp, *args):
        extension.postprocess_image(p, pp)

    def postprocess(self, p, processed, *args):
        extension.postprocess(p, processed)
