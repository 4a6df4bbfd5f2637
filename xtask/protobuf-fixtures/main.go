// Writes objects as Kubernetes' own clients encode them, in protobuf and in JSON, for the tests of kapell's decoder.
// Run by `cargo xtask protobuf-fixtures`; the result is checked in.
//
// Every kind that a request body can hold is filled four times over: with nothing, with something in every field, and
// twice with a random choice of absent, zero and other values (the seed is fixed, so two runs agree).
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"os"
	"reflect"
	"sort"
	"strings"
	"time"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	certificates "k8s.io/api/certificates/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	flowcontrol "k8s.io/api/flowcontrol/v1"
	networking "k8s.io/api/networking/v1"
	node "k8s.io/api/node/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
)

type fixture struct {
	Name     string          `json:"name"`
	Protobuf string          `json:"protobuf"`
	JSON     json.RawMessage `json:"json"`
}

func main() {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, authentication.AddToScheme, authorization.AddToScheme, autoscalingv1.AddToScheme,
		autoscalingv2.AddToScheme, batch.AddToScheme, coordination.AddToScheme, core.AddToScheme, discovery.AddToScheme,
		events.AddToScheme, networking.AddToScheme, node.AddToScheme, policy.AddToScheme, rbac.AddToScheme,
		scheduling.AddToScheme, storage.AddToScheme, certificates.AddToScheme, flowcontrol.AddToScheme,
	} {
		check(add(scheme))
	}
	serializer := protobuf.NewSerializer(scheme, scheme)

	var packed bytes.Buffer
	archive, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	check(err)
	count := 0
	for _, kind := range kinds(scheme) {
		for variant, fill := range []filler{{}, {all: true}, {random: source(1)}, {random: source(2)}} {
			object, err := scheme.New(kind)
			check(err)
			fill.fill(reflect.ValueOf(object).Elem(), "")
			object.GetObjectKind().SetGroupVersionKind(kind)
			var encoded bytes.Buffer
			check(serializer.Encode(object, &encoded))
			text, err := json.Marshal(object)
			check(err)
			line, err := json.Marshal(fixture{
				Name:     fmt.Sprintf("%s %s %d", kind.GroupVersion(), kind.Kind, variant),
				Protobuf: base64.StdEncoding.EncodeToString(encoded.Bytes()),
				JSON:     text,
			})
			check(err)
			_, err = archive.Write(append(line, '\n'))
			check(err)
			count++
		}
	}
	check(archive.Close())
	check(os.WriteFile(os.Args[1], packed.Bytes(), 0o644))
	log.Printf("%d bodies, %d bytes", count, packed.Len())
}

// What a body can hold: no lists, no answers, and no options but those of a deletion, which every group has.
func kinds(scheme *runtime.Scheme) []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for kind := range scheme.AllKnownTypes() {
		name := kind.Kind
		others := strings.HasSuffix(name, "List") || strings.HasSuffix(name, "Options") || name == "WatchEvent" || name == "Status"
		meta := kind.Version == "" || kind.Version == runtime.APIVersionInternal || strings.HasPrefix(name, "API")
		deletion := name == "DeleteOptions" && (kind.Group == "" || kind.Group == "apps")
		if deletion || !others && !meta {
			kinds = append(kinds, kind)
		}
	}
	sort.Slice(kinds, func(i, j int) bool { return kinds[i].String() < kinds[j].String() })
	return kinds
}

func source(seed int64) *rand.Rand { return rand.New(rand.NewSource(seed)) }

// filler fills values by their types: everything, a random choice, or nothing.
type filler struct {
	all    bool
	random *rand.Rand
}

// present says whether something optional is there at all.
func (f filler) present() bool { return f.all || f.random != nil && f.random.Intn(2) == 0 }

// zero says whether a scalar is left at zero.
func (f filler) zero() bool { return !f.all && (f.random == nil || f.random.Intn(3) == 0) }

func (f filler) number(below int64) int64 {
	if f.random == nil {
		return below / 2
	}
	return f.random.Int63n(below)
}

func (f filler) fill(value reflect.Value, name string) {
	if f.special(value) {
		return
	}
	switch value.Kind() {
	case reflect.Struct:
		for i := range value.NumField() {
			field := value.Type().Field(i)
			if field.IsExported() && field.Type != reflect.TypeFor[meta.TypeMeta]() {
				f.fill(value.Field(i), field.Name)
			}
		}
	case reflect.Pointer:
		if f.present() {
			value.Set(reflect.New(value.Type().Elem()))
			f.fill(value.Elem(), name)
		}
	case reflect.Slice:
		if !f.present() {
			return
		}
		if value.Type().Elem().Kind() == reflect.Uint8 {
			value.SetBytes([]byte{0, 0xff, byte(f.number(256)), '\n'})
			return
		}
		length := 1
		if f.random != nil {
			length += f.random.Intn(2)
		}
		value.Set(reflect.MakeSlice(value.Type(), length, length))
		for i := range length {
			f.fill(value.Index(i), name)
		}
	case reflect.Map:
		if !f.present() {
			return
		}
		value.Set(reflect.MakeMap(value.Type()))
		for _, key := range []string{"b.example/ключ", "a"} {
			element := reflect.New(value.Type().Elem()).Elem()
			f.fill(element, name)
			if element.Kind() == reflect.Slice && element.IsNil() {
				continue // protobuf cannot tell it from an empty one
			}
			value.SetMapIndex(reflect.ValueOf(key).Convert(value.Type().Key()), element)
		}
	case reflect.String:
		if !f.zero() {
			value.SetString(name + " é\"\\\n")
		}
	case reflect.Bool:
		value.SetBool(!f.zero())
	case reflect.Int, reflect.Int32, reflect.Int64:
		if !f.zero() {
			value.SetInt(f.number(1<<31) - 1<<30 + 7)
		}
	case reflect.Float64:
		if !f.zero() {
			value.SetFloat(0.25)
		}
	default:
		log.Fatalf("%s: nobody fills a %s", name, value.Type())
	}
}

// special fills what has a JSON form of its own.
func (f filler) special(value reflect.Value) bool {
	switch target := value.Addr().Interface().(type) {
	case *meta.Time:
		if !f.zero() {
			*target = meta.Unix(f.number(1<<33)-1<<31, 0)
		}
	case *meta.MicroTime:
		if !f.zero() {
			*target = meta.NewMicroTime(time.Unix(f.number(1<<32), f.number(1000000)*1000))
		}
	case *resource.Quantity:
		if !f.zero() {
			*target = resource.MustParse(fmt.Sprintf("%dm", f.number(100000)))
		}
	case *intstr.IntOrString:
		switch {
		case f.zero():
		case f.number(3) == 0:
			*target = intstr.FromInt32(int32(f.number(70000)))
		default:
			*target = intstr.FromString(fmt.Sprintf("%d%%", f.number(100)))
		}
	case *runtime.RawExtension:
		if f.present() {
			target.Raw = []byte(fmt.Sprintf(`{"raw":[%d,null,"x"]}`, f.number(10)))
		}
	case *meta.FieldsV1:
		target.Raw = []byte(`{"f:data":{".":{},"f:k":{}}}`)
	default:
		return false
	}
	return true
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
