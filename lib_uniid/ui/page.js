() => {
  // Each browser tab has a secret of its own, which a reload keeps and no other tab knows.
  window.uniidTab = () => {
    let tab = sessionStorage.getItem("uniid-tab");
    if (!tab) {
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      tab = Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
      sessionStorage.setItem("uniid-tab", tab);
    }
    return tab;
  };
  document.addEventListener("keydown", (event) => {
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
  const focus = HTMLElement.prototype.focus;
  HTMLElement.prototype.focus = function (options) {
    const gallery = this.closest("#uniid_gallery"), active = document.activeElement;
    const typing = active?.matches("input, textarea") || window.matchMedia("(min-width: 901px)").matches;
    if (!gallery || gallery.contains(active) || !typing) focus.call(this, options);
  };
  // With Tab a list would stay open: gradio opens it at every key but Escape.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && event.target.closest?.("[role=combobox]")) event.stopPropagation();
  }, true);
  // What was typed is kept for a reload, a moment after the last key or click.
  let waiting;
  const keep = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => document.querySelector("#uniid_keep")?.click(), 300);
  };
  // What is wrong is no longer said once something was changed.
  const forget = () => document.querySelectorAll("#uniid_words .uniid-bad").forEach(
    (one) => { one.style.display = "none"; });
  for (const kind of ["input", "change", "click"]) {
    document.addEventListener(kind, (event) => {
      if (!event.isTrusted || !event.target.closest?.("#uniid_desk")) return;
      keep();
      if (kind !== "click") forget();
    }, true);
  }
}
