
async function answer(transcribe) {
  const [file] = one("clip").files;
  const clip = file ? URL.createObjectURL(file) : given.first;
  return (await transcribe(clip, given.options)).text.trim() || "Nothing was heard.";
}
