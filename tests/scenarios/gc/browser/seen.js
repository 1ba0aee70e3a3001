// What a person would see, as numbers: evaluated in the page by the test, never served.
(() => {
  const channels = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const part = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ([red, green, blue]) => 0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue);
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
      if (color[3] > 0) throw new Error(`half transparent: ${at.outerHTML.slice(0, 80)}`);
    }
    throw new Error("nothing has a background");
  };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() && !element.closest("datalist, svg")) {
      texts.push([walker.currentNode.data.trim().slice(0, 40), contrast(channels(getComputedStyle(element).color), ground(element))]);
    }
  }
  for (const field of document.querySelectorAll("input, select, button")) {
    const style = getComputedStyle(field);
    texts.push([field.outerHTML.slice(0, 60), contrast(channels(style.color), ground(field))]);
    texts.push([`border of ${field.name}`, 1.5 * contrast(channels(style.borderTopColor), ground(field.parentElement))]);
  }
  const shapes = [...document.querySelectorAll(".bar rect, .gauge rect:not(.track)")].map((shape) => [
    shape.getAttribute("class"),
    contrast(channels(getComputedStyle(shape).fill), ground(shape.parentElement)),
  ]);
  const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
  return {
    texts: texts.length,
    pale: texts.filter(([, ratio]) => ratio < 4.5).slice(0, 5),
    shapes: shapes.length,
    faint: shapes.filter(([, ratio]) => ratio < 3).slice(0, 5),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    wide: wide.map((element) => element.outerHTML.slice(0, 120)),
  };
})()
