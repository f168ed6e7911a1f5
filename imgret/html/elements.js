"use strict";
// What all pages of this package are built with, before the script of each.
// What is shown is built of elements and text: no string of the data is ever read as markup.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const thumbnails = JSON.parse($("thumbnails").textContent);

// bytes that are no UTF-8 (lone surrogates), control characters and those that turn the direction of text are spelt out
const shown = (text) => String(text).replace(/[\p{Cc}\p{Cs}\u2028-\u202e\u2066-\u2069]/gu, (sign) => {
  const code = sign.codePointAt(0);
  const byte = code >= 0xdc80 && code <= 0xdcff ? code - 0xdc00 : code;
  return byte < 256 ? "\\x" + byte.toString(16).padStart(2, "0") : "\\u" + byte.toString(16).padStart(4, "0");
});

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return node;
}
const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
