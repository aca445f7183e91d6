// The filter's form: what is chosen applies at once, and what it does not use stays out of the address.

export class TimeRange {
  #form;
  #show;
  #range;
  #custom;
  #zone = document.body.dataset.timeZone || Intl.DateTimeFormat().resolvedOptions().timeZone;

  constructor(form, show) {
    [this.#form, this.#show] = [form, show];
    this.#range = form.elements.range;
    this.#custom = form.querySelector(".custom");
    // A link may say its times in another zone than the one in which they are typed here.
    for (const field of this.#custom.querySelectorAll("[data-instant]")) field.value = this.#local(field.dataset.instant);
    this.#range.addEventListener("change", () => this.#choose());
    form.addEventListener("submit", (event) => this.#submit(event));
  }

  #local(instant) {
    const format = new Intl.DateTimeFormat("sv", { timeZone: this.#zone, dateStyle: "short", timeStyle: "medium" });
    return format.format(new Date(instant)).replace(" ", "T");
  }

  #choose() {
    const isCustom = this.#range.value === this.#range.dataset.custom;
    this.#custom.hidden = this.#custom.disabled = !isCustom;
    if (isCustom) this.#custom.querySelector("input").focus();
    else this.#form.requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    const said = [...new FormData(this.#form)].filter(([name, value]) => value && !(name === "range" && value === this.#range.dataset.custom));
    const isCustom = said.some(([name]) => name === "from" || name === "to");
    this.#show(isCustom ? [...said, ["zone", this.#zone]] : said);
  }
}
