// Keeps the page live: puts in the sections that changed, and says when it cannot.
"use strict";

const link = document.getElementById("link");

function say(text, live) {
  link.textContent = text;
  link.classList.toggle("on", live);
}

// The server writes UTC, because it cannot know where the reader is.
function localTimes(root) {
  for (const time of root.querySelectorAll("time[data-ms]")) {
    const at = new Date(Number(time.dataset.ms));
    time.textContent = at.toLocaleTimeString([], { hour12: false });
    time.dateTime = at.toISOString();
    time.title = at.toLocaleString();
  }
}

function put(id, html) {
  const section = document.getElementById(id);
  if (!section) return;
  // A scroll position or a focus inside must outlive the change.
  const inner = section.querySelector(".scroll");
  const left = inner ? inner.scrollLeft : 0;
  const focused = inner && inner === document.activeElement;
  section.innerHTML = html;
  localTimes(section);
  const again = section.querySelector(".scroll");
  if (again) {
    again.scrollLeft = left;
    if (focused) again.focus({ preventScroll: true });
  }
}

let stale;

function connect() {
  const source = new EventSource("/live");
  const late = () => {
    clearTimeout(stale);
    // The server sends something every second: silence is a lost connection, even if nobody said so.
    stale = setTimeout(() => { source.close(); lost(); }, 5000);
  };
  const lost = () => {
    clearTimeout(stale);
    source.close();
    say("not live, trying again", false);
    setTimeout(connect, 1000);
  };
  source.onopen = late;
  source.onerror = lost;
  source.onmessage = (message) => {
    late();
    for (const [id, html] of Object.entries(JSON.parse(message.data))) put(id, html);
    say("live", true);
  };
}

// A link to the replicas opens their table.
function unfold() {
  if (location.hash === "#replicas-h") document.querySelector("details").open = true;
}

addEventListener("hashchange", unfold);
unfold();
localTimes(document);
connect();
