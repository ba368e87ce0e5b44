// All of UniID's page script, behind one global. WebUIs load it into every page; the stand-alone page does, too.
window.uniid ??= (() => {
  "use strict";

  const CHOSEN = "\u2713 ";
  const WIDE = "(min-width: 901px)";  // as in page.css: settings stand beside the result

  // Gradio calls every face "Thumbnail n of m": the caption says more.
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
    let asked = false;
    new MutationObserver(() => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => { asked = false; nameFaces(); });
    }).observe(document.documentElement, {
      subtree: true, childList: true, characterData: true, attributes: true, attributeFilter: ["aria-label"],
    });
    nameFaces();
  };

  // Each browser tab has a secret of its own, which a reload keeps and no other tab knows.
  const tab = () => {
    let secret = sessionStorage.getItem("uniid-tab");
    if (!secret) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      secret = Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
      sessionStorage.setItem("uniid-tab", secret);
    }
    return secret;
  };

  // Until the server has looked for faces, the field says so: no person is left out of a picture silently.
  const looking = (files, text) => (files?.length ? text : "");

  const confirmed = (value, question) => [value && confirm(question) ? value : null];

  // The size of the picture that the tab around a panel would make, "512x768"; empty where none is found.
  const pictureSize = (panel) => {
    // A list that was just chosen from keeps the focus, and stays open above what comes into view.
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
    document.activeElement?.blur?.();  // a number that was just typed counts
    setTimeout(() => button.click(), 150);
  }, true);

  // Gradio focuses a picture that has come. On a phone that shows it; it must take no keys from a field, and
  // scroll nothing where the result is in view anyway.
  const leaveFocusAlone = () => {
    const focus = HTMLElement.prototype.focus;
    HTMLElement.prototype.focus = function (options) {
      const gallery = this.closest("#uniid_gallery"), active = document.activeElement;
      const typing = active?.matches("input, textarea") || window.matchMedia(WIDE).matches;
      if (!gallery || gallery.contains(active) || !typing) focus.call(this, options);
    };
  };

  // With Tab a list would stay open: gradio opens it at every key but Escape.
  const closeListsOnTab = () => document.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && event.target.closest?.("[role=combobox]")) event.stopPropagation();
  }, true);

  // What was typed is kept for a reload, a moment after the last key or click; a message about what is wrong goes
  // away once something was changed.
  const keepWhatIsTyped = () => {
    let waiting;
    const keep = () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => document.querySelector("#uniid_keep")?.click(), 300);
    };
    const forget = () => {
      for (const one of document.querySelectorAll("#uniid_words .uniid-bad")) one.style.display = "none";
    };
    for (const kind of ["input", "change", "click"]) {
      document.addEventListener(kind, (event) => {
        if (!event.isTrusted || !event.target.closest?.("#uniid_desk")) return;
        keep();
        if (kind !== "click") forget();
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
  return { tab, looking, confirmed, pictureSize, startPage };
})();
