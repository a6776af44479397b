
async function answer(generate) {
  const text = one("text").value;
  const chat = Array.isArray(given.first);
  const [{ generated_text }] = await generate(chat ? [{ role: "user", content: text }] : text, given.options);
  return (chat ? generated_text.at(-1).content : generated_text) || "Nothing was said.";
}
