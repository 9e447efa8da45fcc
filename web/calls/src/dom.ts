/** Builds elements. Whatever is shown goes in as text: a conversation's words are strangers', and never markup. */

export type Child = Node | string | undefined;
type Attributes = Readonly<Record<string, string | boolean | undefined>>;

/** Returns an element; attributes that are false or undefined are left out, and so are undefined children. */
export function el<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(attribute, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** Sets custom properties, which style sheets read: attributes of style would be a matter for the CSP. */
export function withProperties<Kind extends HTMLElement>(made: Kind, properties: Record<string, string>): Kind {
  for (const [name, value] of Object.entries(properties)) made.style.setProperty(name, value);
  return made;
}

/** Returns the page's element with this id. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`index.html has no #${id}`);
  return found;
}

/** Says something to a screen reader. */
export function announce(text: string): void {
  byId("announcer").textContent = text;
}

/** A list whose entries stay the same elements while what they show is the same, so that focus and folds stay. */
export class KeyedList<Entry> {
  private shown = new Map<string, { signature: string; node: HTMLElement }>();

  constructor(
    private readonly list: HTMLElement,
    private readonly keyOf: (entry: Entry) => string,
    private readonly build: (entry: Entry) => HTMLElement,
  ) {}

  show(entries: readonly Entry[]): void {
    const next = new Map<string, { signature: string; node: HTMLElement }>();
    for (const entry of entries) {
      const key = this.keyOf(entry);
      const signature = JSON.stringify(entry);
      const before = this.shown.get(key);
      next.set(key, before?.signature === signature ? before : { signature, node: this.rebuilt(entry, before?.node) });
    }
    this.shown = next;
    this.place([...next.values()].map(({ node }) => node));
  }

  private rebuilt(entry: Entry, before: HTMLElement | undefined): HTMLElement {
    const node = this.build(entry);
    if (before?.querySelector("details")?.open) node.querySelector("details")?.setAttribute("open", "");
    return node;
  }

  /** Puts the elements in order without taking out those that stay: taken out, one would lose the focus. */
  private place(nodes: readonly HTMLElement[]): void {
    const wanted = new Set<Element>(nodes);
    for (const child of [...this.list.children]) if (!wanted.has(child)) child.remove();
    nodes.forEach((node, index) => {
      const there = this.list.children[index];
      if (there !== node) this.list.insertBefore(node, there ?? null);
    });
  }
}
