// All of UniID's page script, in one global object. WebUIs and the stand-alone page load it.
window.uniid ??= (() => {
  "use strict";

  const CHOSEN = "\u2713 ";
  const WIDE = "(min-width: 901px)";  // as in page.css: the result is beside the settings

  // Gradio labels every face "Thumbnail n of m". The caption is a better accessible name.
  const nameFaces = () => {
    for (const button of document.querySelectorAll(".uniid-faces .thumbnail-item")) {
      const caption = button.querySelector(".caption-label")?.textContent.trim();
      if (!caption) continue;
      const wanted = {
        "aria-label": caption.replace(CHOSEN, ""),
        "aria-pressed": String(caption.startsWith(CHOSEN)),
      };
      for (const [attribute, value] of Object.entries(wanted)) {
        if (button.getAttribute(attribute) !== value) button.setAttribute(attribute, value);
      }
    }
  };

  const keepFacesNamed = () => {
    let scheduled = false;
    new MutationObserver(() => {
      if (scheduled) return;
      scheduled = true;
      requestAnimationFrame(() => { scheduled = false; nameFaces(); });
    }).observe(document.documentElement, {
      subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["aria-label"],
    });
    nameFaces();
  };

  // Each browser tab has its own secret, which it keeps over a reload.
  const tab = () => {
    let secret = sessionStorage.getItem("uniid-tab");
    if (!secret) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      secret = Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
      sessionStorage.setItem("uniid-tab", secret);
    }
    return secret;
  };

  // Marks the field until the server has detected the faces: a generation before that fails, and leaves no person out.
  const markDetecting = (files, text) => (files?.length ? text : "");

  const confirmed = (value, question) => [value && confirm(question) ? value : null];

  // The picture size in the tab of a panel, such as "512x768"; empty if it is not found.
  const pictureSize = (panel) => {
    // After a choice a list keeps the focus and stays open over the components below it.
    setTimeout(() => document.activeElement.closest('[id$="_where"]') && document.activeElement.blur(), 300);
    for (let node = document.getElementById(panel); node; node = node.parentElement) {
      for (const name of ["txt2img", "img2img", "uniid"]) {
        const [width, height] = ["width", "height"].map(
          (side) => node.querySelector(`#${name}_${side} input[type=number]`));
        if (width && height) return [`${width.value}x${height.value}`];
      }
    }
    return [""];
  };

  const generateOnCtrlEnter = () => document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const button = document.querySelector("#uniid_generate");
    if (!button || button.disabled || button.offsetParent === null) return;
    event.preventDefault();
    event.stopPropagation();
    document.activeElement?.blur?.();  // commits a number that is being typed
    setTimeout(() => button.click(), 150);
  }, true);

  // Gradio focuses a new picture. On a phone this scrolls to it. It must not take the focus from a field, and must
  // not scroll on a wide screen, where the result is in view.
  const leaveFocusAlone = () => {
    const focus = HTMLElement.prototype.focus;
    HTMLElement.prototype.focus = function (options) {
      const gallery = this.closest("#uniid_gallery"), active = document.activeElement;
      const typing = active?.matches("input, textarea") || window.matchMedia(WIDE).matches;
      if (!gallery || gallery.contains(active) || !typing) focus.call(this, options);
    };
  };

  // Gradio opens a list at every key but Escape, so a list would stay open after Tab.
  const closeListsOnTab = () => document.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && event.target.closest?.("[role=combobox]")) event.stopPropagation();
  }, true);

  // Keeps the controls' values for a reload, 0.3 seconds after the last key or click. A change hides the error
  // message of the last generation.
  const keepWhatIsTyped = () => {
    let waiting;
    const keep = () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => document.querySelector("#uniid_keep")?.click(), 300);
    };
    const hideErrors = () => {
      for (const one of document.querySelectorAll("#uniid_words .uniid-bad")) one.style.display = "none";
    };
    for (const kind of ["input", "change", "click"]) {
      document.addEventListener(kind, (event) => {
        if (!event.isTrusted || !event.target.closest?.("#uniid_desk")) return;
        keep();
        if (kind !== "click") hideErrors();
      }, true);
    }
  };

  const startPage = () => {
    generateOnCtrlEnter();
    leaveFocusAlone();
    closeListsOnTab();
    keepWhatIsTyped();
  };

  keepFacesNamed();
  return { tab, markDetecting, confirmed, pictureSize, startPage };
})();
