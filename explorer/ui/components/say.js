// What components say, in the language of the page; WORDS, which Python puts before, has the translations by language.

let spoken = "en";

/** Speak a language from now on, and let screen readers know. */
export function speak(language) {
  spoken = language;
  document.documentElement.lang = language;
}

/** Mark a sentence that `say` is given elsewhere. */
export function later(message) {
  return message;
}

/** The language that is spoken. */
export function language() {
  return spoken;
}

/** Give a sentence in the language that is spoken, with values in place of their `{names}`. */
export function say(message, values = {}) {
  const text = WORDS[spoken]?.[message] ?? message;
  return text.replaceAll(/\{(\w+)\}/g, (whole, name) => (Object.hasOwn(values, name) ? values[name] : whole));
}

/** Write a number with so many decimals, as the language does. */
export function fixed(value, digits) {
  return value.toFixed(digits).replace(".", say("1,234.5").at(-2));
}

/** Write a number as it is, with the language's mark before its decimals. */
export function plain(value) {
  return String(value).replace(".", say("1,234.5").at(-2));
}

/** Write a number with a sign as in print and thousands apart, as the language does. */
export function grouped(value, form) {
  return value.toLocaleString(spoken, form).replace("-", "−");
}
