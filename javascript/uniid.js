// Loaded by WebUIs and by the stand-alone page. Gradio calls every face "Thumbnail n of m": the caption says more.
(() => {
  const meant = "\u2713 ";
  const name = () => document.querySelectorAll(".uniid-faces .thumbnail-item").forEach((button) => {
    const caption = button.querySelector(".caption-label")?.textContent.trim();
    if (!caption) return;
    const wanted = { "aria-label": caption.replace(meant, ""), "aria-pressed": String(caption.startsWith(meant)) };
    for (const [attribute, value] of Object.entries(wanted)) {
      if (button.getAttribute(attribute) !== value) button.setAttribute(attribute, value);
    }
  });
  let asked = false;
  new MutationObserver(() => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; name(); });
  }).observe(document.documentElement, {
    subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["aria-label"],
  });
  name();
})();
