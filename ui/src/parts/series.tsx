//! Traffic over time, by where the two ends are. A stretch that is marked with the mouse becomes
//! the time that is asked about; by keyboard the same is done with the two fields of the page.

import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import type { BySplit, TrafficSeries } from '../api'
import { bits, when } from '../format'

/** What is drawn: a name, what it adds up, a colour and a dash, so that no colour stands alone. */
export const LINES: { name: string; of: (by: BySplit) => number; colour: string; dash?: number[] }[] = [
  { name: 'Intra-host', of: (by) => by.intra_host, colour: 'good', dash: [2, 3] },
  { name: 'Inter-host', of: (by) => by.inter_host, colour: 'accent' },
  { name: 'VM to physical', of: (by) => by.vm_to_physical, colour: 'warn', dash: [7, 3] },
  { name: 'Other', of: (by) => by.group + by.outside + by.unknown, colour: 'text-2', dash: [1, 2] },
]

/** `from` and `to` in milliseconds; `mark` is told the stretch that was marked. */
export function SeriesChart({ series, from, to, mark }: { series: TrafficSeries; from: number; to: number; mark: (from: number, to: number) => void }) {
  const place = useRef<HTMLDivElement>(null)
  const marked = useRef(mark)
  marked.current = mark
  useEffect(() => {
    let plot: uPlot | null = null
    const draw = () => {
      plot?.destroy()
      plot = make(place.current!, series, from, to, (one, other) => marked.current(one, other))
    }
    draw()
    const resized = new ResizeObserver(([entry]) => plot?.setSize({ width: Math.floor(entry!.contentRect.width), height: HIGH }))
    resized.observe(place.current!)
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    scheme.addEventListener('change', draw)
    addEventListener('theme', draw)
    return () => {
      resized.disconnect()
      scheme.removeEventListener('change', draw)
      removeEventListener('theme', draw)
      plot?.destroy()
    }
  }, [series, from, to])
  const most = series.items.reduce((most, it) => Math.max(most, it.octets), 0)
  const peak = series.items.find((it) => it.octets === most)
  return (
    <figure class="series">
      <figcaption>
        <ul class="legend">{LINES.map((line) => <li key={line.name}><svg width="22" height="8" aria-hidden="true" focusable="false"><line x1="0" y1="4" x2="22" y2="4" stroke={`var(--${line.colour})`} stroke-width="2.5" stroke-dasharray={line.dash?.join(' ')} /></svg> {line.name}</li>)}</ul>
        <span class="quiet-text">{peak ? <>Most {bits((most * 8) / series.step_s)} at {when(Date.parse(peak.begin))}. </> : null}Mark a stretch to look closer.</span>
      </figcaption>
      <div ref={place} aria-hidden="true" />
    </figure>
  )
}

function make(place: HTMLElement, series: TrafficSeries, from: number, to: number, mark: (from: number, to: number) => void): uPlot {
  const of = getComputedStyle(document.documentElement)
  const colour = (name: string) => of.getPropertyValue(`--${name}`).trim()
  const axis: uPlot.Axis = { stroke: colour('text-2'), grid: { stroke: colour('line'), width: 1 }, ticks: { stroke: colour('line'), width: 1 }, font: '11px system-ui, sans-serif' }
  const [times, lines] = filled(series, from, to)
  return new uPlot({
    width: place.clientWidth || 300,
    height: HIGH,
    legend: { show: false },
    cursor: { y: false, drag: { x: true, y: false, setScale: false } },
    scales: { x: { range: () => [from / 1000, to / 1000] }, y: { range: (_, __, most) => [0, Math.max(1000, most * 1.1)] } },
    axes: [{ ...axis, size: 30 }, { ...axis, size: 66, values: (_, values) => values.map((value) => bits(value)) }],
    series: [{}, ...LINES.map((line) => ({ label: line.name, stroke: colour(line.colour), width: 2, dash: line.dash, points: { show: false }, paths: uPlot.paths.stepped!({ align: 1 }) }))],
    hooks: {
      setSelect: [(plot) => {
        const [left, wide] = [plot.select.left, plot.select.width]
        if (wide < 6) return
        mark(plot.posToVal(left, 'x') * 1000, plot.posToVal(left + wide, 'x') * 1000)
      }],
    },
  }, [times, ...lines], place)
}

/** Every time from the first to the last, also those in which there was nothing. */
function filled(series: TrafficSeries, from: number, to: number): [number[], number[][]] {
  const step = series.step_s
  const known = new Map(series.items.map((it) => [Date.parse(it.begin) / 1000, it.by_split]))
  const times: number[] = []
  const lines: number[][] = LINES.map(() => [])
  for (let time = Math.floor(from / 1000 / step) * step; time < to / 1000 && times.length < 20_000; time += step) {
    const by = known.get(time)
    times.push(time)
    LINES.forEach((line, i) => lines[i]!.push(by ? (line.of(by) * 8) / step : 0))
  }
  return [times, lines]
}

const HIGH = 200
