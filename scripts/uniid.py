"""The one file that AUTOMATIC1111 and Forge execute; all that it does is in lib_uniid.hosts.webui."""

import gradio as gr
from modules import script_callbacks, scripts

from lib_uniid.hosts.webui import infotext
from lib_uniid.hosts.webui.script import Extension
from lib_uniid.hosts.webui.services import WebUI

# The host executes this file anew at "Reload UI"; the old one's is then unloaded.
extension = Extension(WebUI())


class UniID(scripts.Script):
    """The host makes one per tab."""

    def title(self):
        return "UniID"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def ui(self, is_img2img):
        """Two arguments: the request (text here, a dict through the API), and whether it is on.

        The host calls this three times per tab, and reads the defaults off the components.
        """
        with gr.Accordion("UniID", open=False):
            enabled = gr.Checkbox(
                value=False, label="Put people into the picture", elem_id=self.elem_id("enabled")
            )
            request = gr.Textbox(value="", label="Request (JSON)", lines=4, elem_id=self.elem_id("request"))
        self.infotext_fields = [(enabled, infotext.paste_enabled), (request, infotext.paste_request)]
        self.paste_field_names = [infotext.KEY]
        return [request, enabled]

    def before_process(self, p, *args):
        extension.before_process(p, *args)

    def process(self, p, *args):
        extension.process(p)

    def process_before_every_sampling(self, p, *args, **kwargs):
        extension.process_before_every_sampling(p, kwargs["x"])

    def postprocess_batch(self, p, *args, **kwargs):
        extension.postprocess_batch(p)

    def postprocess_image(self, p, pp, *args):
        extension.postprocess_image(p, pp)

    def postprocess(self, p, processed, *args):
        extension.postprocess(p, processed)


script_callbacks.on_cfg_denoiser(extension.on_cfg_denoiser)
script_callbacks.on_script_unloaded(extension.unload)
