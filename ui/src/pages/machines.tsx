//! Every machine one may see, a page at a time, or those that are called so.

import { useEffect, useState } from 'preact/hooks'
import { api, type Found, type Problem, plainId } from '../api'
import { Badge, Empty, Head, machineTone, Scroll, Waiting, Wrong } from '../parts/basics'
import { TimeBar } from '../parts/timebar'
import { isConnected, useHeard } from '../live'
import { go, link } from '../route'

export function MachinesPage({ words }: { words: Record<string, string> }) {
  const what = words.what ?? ''
  const at = words.at ?? null
  const [typed, type] = useState(what)
  const [items, set] = useState<Found[] | null>(null)
  const [suggestions, suggest] = useState<string[]>([])
  const [next, setNext] = useState<string | null>(null)
  const [problem, setProblem] = useState<Problem | null>(null)
  const load = (cursor: string | null, before: Found[]) => {
    api.machines({ what, at, limit: Math.max(PAGE, cursor ? PAGE : before.length), cursor }).then((answer) => {
      set(cursor ? [...before, ...answer.items] : answer.items)
      suggest(answer.suggestions)
      setNext(answer.next)
      setProblem(null)
    }, setProblem)
  }
  useEffect(() => { set(null); type(what); load(null, []) }, [what, at])
  useHeard(['machines'], () => { if (!at && items && items.length <= PAGE) load(null, items) })
  useEffect(() => {
    if (typed.trim() === what) return undefined
    const timer = setTimeout(() => go(link(['machines'], { what: typed.trim(), at }), true), 250)
    return () => clearTimeout(timer)
  }, [typed])
  return (
    <>
      <Head title="Machines"><TimeBar at={at} go={(at) => go(link(['machines'], { what, at }), true)} /></Head>
      <div class="bar">
        <input type="search" value={typed} class="grow" placeholder="The beginning of a name, a UUID, MAC, address, tap or port id" aria-label="Which machines" onInput={(event) => type(event.currentTarget.value)} />
      </div>
      {problem && <Wrong problem={problem} again={() => load(null, items ?? [])} />}
      {!items && !problem && <Waiting what="the machines" />}
      {items?.length === 0 && (
        <Empty title={what ? `Nothing is called ${what}` : 'There is no machine you may see'}>
          {suggestions.length > 0 ? <p>Perhaps {suggestions.map((name, i) => <>{i > 0 && ', '}<a href={link(['machines'], { what: name, at })}>{name}</a></>)}?</p>
            : <p>{what ? 'Names are found by their beginning; addresses, MACs and taps as they are.' : 'Grants say which machines one may see; an administrator makes them.'}</p>}
        </Empty>
      )}
      {items && items.length > 0 && (
        <Scroll label="Machines">
          <table class="dense stack">
            <thead><tr><th scope="col">Machine</th><th scope="col">State</th><th scope="col">Host</th><th scope="col">Tenant</th><th scope="col">Addresses</th><th scope="col">MAC</th><th scope="col">Port</th></tr></thead>
            <tbody>
              {items.map(({ host, host_state, machine }) => (
                <tr key={`${machine.id}${host}`}>
                  <td><a href={link(['machine', plainId(machine.id)], { at })}><b>{machine.name}</b></a>{machine.kind !== 'vm' && <span class="quiet-text"> {machine.kind}</span>}</td>
                  <td><Badge tone={machineTone(machine.state)}>{machine.state === 'shutoff' ? 'shut off' : machine.state}</Badge></td>
                  <td><a href={link(['topology', host], { at })}>{host}</a>{!isConnected(host_state) && <span class="quiet-text"> away</span>}</td>
                  <td>{machine.tenant ?? '–'}</td>
                  <td class="mono">{machine.vnics.flatMap((vnic) => vnic.ips.map(({ ip }) => ip)).join(', ') || '–'}</td>
                  <td class="mono">{machine.vnics.map((vnic) => vnic.mac).filter(Boolean).join(', ') || '–'}</td>
                  <td class="mono">{machine.vnics.map((vnic) => vnic.attachment?.port ?? vnic.attachment?.device).filter(Boolean).join(', ') || '–'}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {next && items && <button type="button" onClick={() => load(next, items)}>The next {PAGE}</button>}
    </>
  )
}

const PAGE = 100
