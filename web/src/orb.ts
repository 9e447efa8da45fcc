/** The ring in the middle: shows at a glance who is speaking, and how loud. Decoration; the words beside it say the same. */

import type { Levels } from "./call";
import type { Look } from "./state";

const BARS = 64;
/** From one frame to asking for the next: 30 a second on a screen of 60. */
const PAUSE_MS = 16;
/** Parts of the radius. */
const CORE = 0.46;
const RING = 0.64;
const REACH = 0.34;

export class Orb {
  private look: Look = "start";
  private levels: Levels = { agent: 0, customer: 0 };
  /** The last levels, newest first: sound travels outwards around the ring from its top. */
  private readonly trail = new Array<number>(BARS / 2 + 1).fill(0);
  private readonly heights = new Array<number>(BARS).fill(0);
  private readonly still = window.matchMedia("(prefers-reduced-motion: reduce)");

  constructor(private readonly canvas: HTMLCanvasElement) {
    requestAnimationFrame((now) => this.frame(now));
  }

  show(look: Look): void {
    this.look = look;
  }

  hear(levels: Levels): void {
    this.levels = levels;
  }

  private frame(now: number): void {
    this.move(this.still.matches ? 0 : now / 1000);
    this.draw();
    // Each animation frame that is asked for costs the whole page one, drawn or not.
    window.setTimeout(() => requestAnimationFrame((later) => this.frame(later)), PAUSE_MS);
  }

  private move(seconds: number): void {
    const level = this.look === "speaking" ? this.levels.agent : this.look === "hearing" ? this.levels.customer : 0;
    this.trail.unshift(level);
    this.trail.pop();
    for (let bar = 0; bar < BARS; bar += 1) {
      const goal = this.goal(bar, seconds);
      const height = this.heights[bar] ?? 0;
      this.heights[bar] = height + (goal - height) * (goal > height ? 0.5 : 0.2);
    }
  }

  /** How tall a bar wants to be, 0 to 1. */
  private goal(bar: number, seconds: number): number {
    const fromTop = Math.min(bar, BARS - bar);
    switch (this.look) {
      case "speaking":
      case "hearing": {
        const ripple = 0.75 + 0.25 * Math.sin(bar * 2.4 + seconds * 6);
        return 0.06 + 0.94 * (this.trail[fromTop >> 1] ?? 0) * ripple * (1 - fromTop / BARS);
      }
      case "connecting":
      case "reconnecting":
        return 0.05 + 0.55 * bump(bar / BARS - seconds * 0.7, 0.12);
      case "thinking":
        return 0.05 + 0.4 * (bump(bar / BARS - seconds * 0.35, 0.08) + bump(bar / BARS - seconds * 0.35 + 0.5, 0.08));
      case "lost":
        return bar % 8 < 3 ? 0.16 + 0.08 * Math.sin(seconds * 2) : 0;
      case "listening":
        return 0.1 + 0.05 * Math.sin(seconds * 1.6) + 0.02 * Math.sin(bar * 0.8 + seconds);
      default:
        return 0.09 + 0.05 * Math.sin(bar * ((Math.PI * 6) / BARS) + seconds * 0.6);
    }
  }

  private draw(): void {
    const side = Math.round(this.canvas.clientWidth * window.devicePixelRatio);
    if (side === 0) return;
    if (this.canvas.height !== side) this.canvas.width = this.canvas.height = side;
    const pen = this.canvas.getContext("2d");
    if (pen === null) return;
    const radius = this.canvas.width / 2;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.translate(radius, radius);
    const colour = getComputedStyle(this.canvas).color;
    this.drawCore(pen, radius, colour);
    this.drawBars(pen, radius, colour);
  }

  private drawCore(pen: CanvasRenderingContext2D, radius: number, colour: string): void {
    const loud = Math.max(...this.trail.slice(0, 4));
    const size = radius * CORE * (1 + loud * 0.12);
    const light = pen.createRadialGradient(-size * 0.35, -size * 0.45, size * 0.1, 0, 0, size);
    light.addColorStop(0, `color-mix(in oklab, ${colour} 62%, white)`);
    light.addColorStop(1, colour);
    pen.globalAlpha = this.look === "lost" || this.look === "ended" ? 0.35 : 1;
    pen.fillStyle = light;
    pen.beginPath();
    pen.arc(0, 0, size, 0, Math.PI * 2);
    pen.fill();
  }

  private drawBars(pen: CanvasRenderingContext2D, radius: number, colour: string): void {
    pen.strokeStyle = colour;
    pen.lineCap = "round";
    pen.lineWidth = radius * 0.022;
    for (let bar = 0; bar < BARS; bar += 1) {
      const height = this.heights[bar] ?? 0;
      pen.globalAlpha = 0.3 + 0.7 * Math.min(1, height * 2);
      pen.save();
      pen.rotate((bar / BARS) * Math.PI * 2);
      pen.beginPath();
      pen.moveTo(0, -radius * RING);
      pen.lineTo(0, -radius * (RING + REACH * height));
      pen.stroke();
      pen.restore();
    }
    pen.globalAlpha = 1;
  }
}

/** A soft hill around 0 on a circle of length 1. */
function bump(place: number, width: number): number {
  const distance = Math.abs(place - Math.round(place));
  return Math.exp(-((distance / width) ** 2));
}
