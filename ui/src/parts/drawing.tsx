//! Hosts drawn as boxes in boxes: host, vSwitch, port group, vNIC, and the uplinks below. Places
//! follow from the order of things alone, so that nothing jumps when one machine comes or goes.

import cytoscape, { type Core, type ElementDefinition } from 'cytoscape'
import { useEffect, useRef } from 'preact/hooks'
import type { PortGroup, TopologyHost } from '../api'
import { isConnected } from '../live'

interface Drawn { hosts: TopologyHost[]; open: (id: string) => void; marked?: string | null; label: string }

export function Drawing({ hosts, open, marked, label }: Drawn) {
  const place = useRef<HTMLDivElement>(null)
  const drawing = useRef<Core | null>(null)
  const opens = useRef(open)
  opens.current = open
  const isOne = hosts.length === 1
  useEffect(() => {
    const cy = cytoscape({
      container: place.current,
      style: style(),
      autoungrabify: true,
      boxSelectionEnabled: false,
      minZoom: 0.15,
      maxZoom: 2.5,
      userZoomingEnabled: true,
      wheelSensitivity: 0.3,
    })
    drawing.current = cy
    // The wheel scrolls the page unless Ctrl says that it zooms.
    place.current?.addEventListener('wheel', (event) => { if (!event.ctrlKey) event.stopPropagation() }, { capture: true })
    cy.on('tap', 'node[opens]', (event) => opens.current(event.target.data('opens') as string))
    cy.on('mouseover', 'node[opens]', () => place.current?.classList.add('pointing'))
    cy.on('mouseout', 'node[opens]', () => place.current?.classList.remove('pointing'))
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    const restyle = () => { cy.style(style()) }
    scheme.addEventListener('change', restyle)
    addEventListener('theme', restyle)
    const resized = new ResizeObserver(() => { if (!cy.destroyed()) { cy.resize(); fit(cy) } })
    resized.observe(place.current!)
    return () => {
      scheme.removeEventListener('change', restyle)
      removeEventListener('theme', restyle)
      resized.disconnect()
      cy.destroy()
    }
  }, [])
  const key = JSON.stringify(hosts)
  useEffect(() => {
    const cy = drawing.current
    if (!cy) return
    const elements = hosts.length === 1 ? whole(hosts[0]!) : overview(hosts, Math.max(2, Math.floor(cy.width() / 185)))
    const before = new Set(cy.nodes().map((node) => node.id()))
    cy.elements().remove()
    cy.add(elements)
    if (before.size > 0) cy.nodes('[vnic]').filter((node) => !before.has(node.id())).addClass('new')
    fit(cy)
    const timer = setTimeout(() => cy.nodes('.new').removeClass('new'), 2500)
    return () => clearTimeout(timer)
  }, [key])
  useEffect(() => {
    drawing.current?.nodes().removeClass('marked')
    if (marked) drawing.current?.nodes().filter((node) => node.data('opens') === marked).addClass('marked')
  }, [marked, key])
  return (
    <figure class={isOne ? 'drawing' : 'drawing many'}>
      <div ref={place} class="drawing-canvas" role="img" aria-label={label} />
      <div class="drawing-acts">
        <button type="button" class="square" aria-label="Zoom in" onClick={() => zoom(drawing.current, 1.3)}>+</button>
        <button type="button" class="square" aria-label="Zoom out" onClick={() => zoom(drawing.current, 1 / 1.3)}>−</button>
        <button type="button" onClick={() => drawing.current && fit(drawing.current)}>Fit</button>
      </div>
    </figure>
  )
}

const fit = (cy: Core) => {
  cy.fit(undefined, 18)
  if (cy.zoom() > 1) {
    cy.zoom(1)
    cy.center()
  }
}

function zoom(cy: Core | null, by: number): void {
  cy?.zoom({ level: cy.zoom() * by, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } })
}

/** One host, to its vNICs. */
function whole(host: TopologyHost): ElementDefinition[] {
  const out: ElementDefinition[] = [box(host.name, `${host.name}${isConnected(host.state) ? '' : ' · away'}`, 'host')]
  let left = 0
  for (const on of host.switches) {
    const switch_id = `${host.name}/${on.name}`
    out.push(box(switch_id, `${on.name} · ${kindOf(on.kind)}`, 'switch', host.name))
    let right = left
    let bottom = 0
    on.port_groups.forEach((group, i) => {
      const group_id = `${switch_id}/${i}`
      out.push(box(group_id, `${group.name ?? 'no port group'} · ${tagOf(group)}`, 'group', switch_id))
      const shown = group.vnics.length > MOST_IN_GROUP ? group.vnics.slice(0, MOST_IN_GROUP - 1) : group.vnics
      const columns = group.vnics.length > 12 ? 2 : 1
      shown.forEach((vnic, n) => {
        out.push({
          data: { id: `${vnic.uuid}/${vnic.mac ?? n}/${group_id}`, parent: group_id, label: `${short(vnic.machine)}\n${vnic.ips[0] ?? vnic.port ?? ''}`, opens: vnic.uuid, vnic: true },
          position: { x: right + (n % columns) * (WIDE + 10) + WIDE / 2, y: Math.floor(n / columns) * 44 },
          classes: 'vnic',
        })
      })
      if (shown.length < group.vnics.length) {
        const n = shown.length
        out.push({
          data: { id: `${group_id}/more`, parent: group_id, label: `+ ${group.vnics.length - shown.length} more,\nin the list below` },
          position: { x: right + (n % columns) * (WIDE + 10) + WIDE / 2, y: Math.floor(n / columns) * 44 },
          classes: 'more',
        })
      }
      bottom = Math.max(bottom, Math.ceil(group.vnics.length > MOST_IN_GROUP ? MOST_IN_GROUP / columns : group.vnics.length / columns))
      right += columns * (WIDE + 10) + 42
    })
    const middle = (left + right - 42) / 2
    const y = bottom * 44 + 92
    on.uplinks.forEach((uplink, u) => {
      const id = `${switch_id}/uplink/${uplink.name}`
      const x = middle + (u - (on.uplinks.length - 1) / 2) * (WIDE + 30)
      out.push({ data: { id, label: isTeam(uplink) ? `${uplink.name}\n${uplink.members.join(' · ')}` : uplink.name, parent: host.name }, position: { x, y }, classes: 'uplink' })
      on.port_groups.forEach((group, i) => {
        if (group.vnics.length) out.push({ data: { id: `${id}<${i}`, source: `${switch_id}/${i}`, target: id } })
      })
    })
    left = right + 30
  }
  return out
}

/** Some hosts, to their port groups with the number of vNICs in each. */
function overview(hosts: TopologyHost[], most: number): ElementDefinition[] {
  const out: ElementDefinition[] = []
  const columns = Math.min(hosts.length, most)
  const tall = Math.max(...hosts.map((host) => host.switches.reduce((sum, on) => sum + on.port_groups.length, 0)), 1) * 40 + 240
  hosts.forEach((host, h) => {
    const x = (h % columns) * (WIDE + 136)
    let y = Math.floor(h / columns) * tall
    out.push(box(host.name, `${host.name}${isConnected(host.state) ? '' : ' · away'}`, 'host', undefined, host.name))
    for (const on of host.switches) {
      const id = `${host.name}/${on.name}`
      out.push(box(id, `${on.name} · ${kindOf(on.kind)}`, 'switch', host.name, host.name))
      on.port_groups.forEach((group, i) => {
        out.push({
          data: { id: `${id}/${i}`, parent: id, label: `${group.name ?? 'no port group'} · ${group.vnics.length}\n${tagOf(group)}`, opens: host.name },
          position: { x, y }, classes: 'group leaf',
        })
        y += 40
      })
      for (const uplink of on.uplinks) {
        y += 30
        out.push({ data: { id: `${id}/uplink/${uplink.name}`, parent: host.name, label: isTeam(uplink) ? `${uplink.name}: ${uplink.members.join(', ')}` : uplink.name, opens: host.name }, position: { x, y }, classes: 'uplink thin' })
        out.push({ data: { id: `${id}>${uplink.name}`, source: id, target: `${id}/uplink/${uplink.name}` } })
      }
      y += 76
    }
  })
  return out
}

const box = (id: string, label: string, kind: string, parent?: string, opens?: string): ElementDefinition => ({ data: { id, label, parent, opens }, classes: `box ${kind}` })

/** Whether it is more than one card under its own name. */
export const isTeam = (uplink: { name: string; members: string[] }): boolean => uplink.members.some((member) => member !== uplink.name)

/** What a group's frames are tagged with. */
export function tagOf(group: PortGroup): string {
  const tags = [group.vlan !== null && group.vlan !== undefined ? `VLAN ${group.vlan}` : '', group.vni !== null && group.vni !== undefined ? `VNI ${group.vni}` : ''].filter(Boolean)
  return tags.join(' · ') || 'untagged'
}

export const kindOf = (kind: string | null): string =>
  ({ openvswitch: 'Open vSwitch', 'linux-bridge': 'Linux bridge', macvtap: 'macvtap' })[kind ?? ''] ?? kind ?? 'switch'

const short = (name: string) => (name.length > 18 ? `${name.slice(0, 17)}…` : name)

function style(): cytoscape.StylesheetJson {
  const of = getComputedStyle(document.documentElement)
  const colour = (name: string) => of.getPropertyValue(`--${name}`).trim()
  const font = of.getPropertyValue('--font').trim() || 'sans-serif'
  return [
    { selector: 'node', style: { 'font-family': font, 'font-size': 12, color: colour('text'), label: 'data(label)', 'text-wrap': 'wrap', 'text-valign': 'center', 'text-halign': 'center', 'border-width': 1, 'border-color': colour('line'), 'background-color': colour('surface'), shape: 'round-rectangle', 'overlay-opacity': 0, 'min-zoomed-font-size': 5 } },
    { selector: '.box', style: { 'text-valign': 'top', 'text-margin-y': -5, padding: '16px', 'background-opacity': 1, 'font-size': 12 } },
    { selector: '.host', style: { 'background-color': colour('ground'), 'border-color': colour('line-strong'), 'font-weight': 600, 'font-size': 14, padding: '26px' } },
    { selector: '.switch', style: { 'background-color': colour('surface-2'), padding: '24px', color: colour('text-2') } },
    { selector: '.group', style: { 'background-color': colour('surface'), 'border-style': 'solid', padding: '12px', color: colour('text-2') } },
    { selector: '.leaf', style: { width: WIDE, height: 34, color: colour('text'), padding: '0px', 'font-size': 11, 'line-height': 1.25 } },
    { selector: '.vnic', style: { width: WIDE, height: 36, 'background-color': colour('accent-soft'), 'border-color': colour('accent-line'), 'line-height': 1.25, 'font-size': 11 } },
    { selector: '.more', style: { width: WIDE, height: 36, 'background-opacity': 0, 'border-style': 'dashed', color: colour('text-2'), 'font-size': 11 } },
    { selector: '.uplink', style: { width: WIDE, height: 40, shape: 'rectangle', 'background-color': colour('surface-2'), 'border-color': colour('line-strong'), 'line-height': 1.3 } },
    { selector: '.thin', style: { height: 26, 'font-size': 11 } },
    { selector: 'edge', style: { width: 1.5, 'line-color': colour('line-strong'), 'curve-style': 'taxi', 'taxi-direction': 'downward', 'taxi-turn': '50%', 'overlay-opacity': 0 } as cytoscape.Css.Edge },
    { selector: '.marked, .new', style: { 'border-width': 2.5, 'border-color': colour('accent') } },
  ] as cytoscape.StylesheetJson
}

const WIDE = 132
const MOST_IN_GROUP = 24
