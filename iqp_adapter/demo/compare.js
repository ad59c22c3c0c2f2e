// Before and after: where the edge stands, and whether faces are framed, outlives the pictures.
let cut = 50, framed = true;

function draw() {
  element.style.setProperty("--cut", cut + "%");
  element.classList.toggle("unframed", !framed);
  const find = (what) => element.querySelector(what);
  if (!find("figure")) return;
  find("input[type=range]").value = cut;
  find(".framed").checked = framed;
  find(".save").href = find(".after").src;
}

element.addEventListener("input", (event) => {
  if (event.target.type === "range") cut = Number(event.target.value);
  else framed = event.target.checked;
  draw();
});
watch("value", draw);
draw();
