//! Packets a second of a session that runs, since the page was opened.

import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import type { Session } from '../api'
import { count } from '../format'

export function Rate({ session }: { session: Session }) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const last = useRef<{ at: number; packets: number } | null>(null)
  const times = useRef<number[]>([])
  const rates = useRef<(number | null)[]>([])
  const [latest, set] = useState<number | null>(null)
  const packets = session.parts.reduce((sum, part) => sum + part.packets, 0)

  useEffect(() => {
    const draw = () => {
      plot.current?.destroy()
      plot.current = make(place.current!, [times.current, rates.current])
    }
    draw()
    const resized = new ResizeObserver(([entry]) => plot.current?.setSize({ width: Math.floor(entry!.contentRect.width), height: HIGH }))
    resized.observe(place.current!)
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    scheme.addEventListener('change', draw)
    addEventListener('theme', draw)
    return () => {
      resized.disconnect()
      scheme.removeEventListener('change', draw)
      removeEventListener('theme', draw)
      plot.current?.destroy()
    }
  }, [])
  useEffect(() => {
    const at = Date.now() / 1000
    const before = last.current
    if (before && at - before.at < 0.4) return
    last.current = { at, packets }
    if (!before) return
    const rate = Math.max(0, (packets - before.packets) / (at - before.at))
    times.current.push(at)
    rates.current.push(rate)
    if (times.current.length > 600) { times.current.shift(); rates.current.shift() }
    set(rate)
    plot.current?.setData([times.current, rates.current])
  }, [packets, session])
  return (
    <figure class="rate">
      <figcaption>Packets a second <b class="mono">{latest === null ? '…' : count(Math.round(latest))}</b></figcaption>
      <div ref={place} aria-hidden="true" />
    </figure>
  )
}

function make(place: HTMLElement, data: uPlot.AlignedData): uPlot {
  const of = getComputedStyle(document.documentElement)
  const colour = (name: string) => of.getPropertyValue(`--${name}`).trim()
  const axis: uPlot.Axis = { stroke: colour('text-2'), grid: { stroke: colour('line'), width: 1 }, ticks: { stroke: colour('line'), width: 1 }, font: '11px system-ui, sans-serif' }
  return new uPlot({
    width: place.clientWidth || 300,
    height: HIGH,
    legend: { show: false },
    cursor: { y: false },
    // A minute at least, so that the first seconds do not look like an hour.
    scales: { x: { range: (_, first, last) => [Math.min(first ?? 0, (last ?? 0) - 60), last ?? 0] }, y: { range: (_, __, most) => [0, Math.max(10, most * 1.15)] } },
    axes: [{ ...axis, size: 28 }, { ...axis, size: 52, values: (_, values) => values.map((value) => count(value)) }],
    series: [{}, { stroke: colour('accent'), width: 1.5, fill: colour('accent-soft'), points: { show: false } }],
  }, data, place)
}

const HIGH = 140
