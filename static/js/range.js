// The time range of a filter's form (templates/monitoring/_time_range.html): a range applies when it is chosen, two times
// when they are sent, and what the form does not use stays out of the address.

export class TimeRange {
  #form;
  #show;
  #range;
  #custom;
  #zone = document.body.dataset.timeZone || Intl.DateTimeFormat().resolvedOptions().timeZone;

  /** `show` is called with [name, value] pairs whenever `form` is sent. */
  constructor(form, show) {
    [this.#form, this.#show] = [form, show];
    this.#range = form.elements.range;
    this.#custom = form.querySelector(".time-custom");
    this.#custom.disabled = !this.#custom.classList.contains("is-chosen"); // without scripts it always shows
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
    this.#custom.classList.toggle("is-chosen", isCustom);
    this.#custom.disabled = !isCustom;
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
